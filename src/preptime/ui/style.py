"""The little that Streamlit's theme cannot say. Colours that hold on a light and on a dark ground alike."""

from __future__ import annotations

STYLE = """<style>
.stMainBlockContainer { max-width: 1180px; }
.callout { border-left: 4px solid #2a8fd0; background: rgba(42, 143, 208, .11); border-radius: .4rem;
  padding: .7rem .9rem; overflow-wrap: anywhere; white-space: pre-wrap; }
.callout span { display: block; font-weight: 500; }
.callout small { display: block; opacity: .8; margin-top: .15rem; font-size: .92em; }
.callout.problem { border-color: #d55e00; background: rgba(213, 94, 0, .12); }
.callout.good { border-color: #009e73; background: rgba(0, 158, 115, .12); }
.lead { margin: -.3rem 0 0; opacity: .75; overflow-wrap: anywhere; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: .7rem; margin: 0;
  padding: 0; }
.figures div { border: 1px solid rgba(127, 137, 150, .3); border-radius: .5rem; padding: .6rem .85rem; min-width: 0; }
.figures dt { font-size: .85em; opacity: .75; }
.figures dd { margin: 0; font-size: 1.5rem; font-weight: 650; line-height: 1.25; font-variant-numeric: tabular-nums;
  overflow-wrap: anywhere; }
.figures small { opacity: .75; overflow-wrap: anywhere; }
.answer small { display: block; opacity: .75; }
.answer b { display: block; font-size: 3.1rem; line-height: 1.05; font-variant-numeric: tabular-nums; }
.answer span { font-size: 1.15rem; font-weight: 600; }
.answer p { margin: .35rem 0 0; opacity: .85; }
.picture h4 { margin: 0; padding: 0; font-size: 1.05rem; }
.picture p { margin: .1rem 0 0; opacity: .75; font-size: .92em; }
.links { display: flex; flex-wrap: wrap; gap: .6rem; }
a.fetch { border: 1px solid rgba(127, 137, 150, .45); border-radius: .5rem; padding: .38rem .8rem; color: inherit;
  text-decoration: none; font-weight: 500; }
a.fetch:hover, a.fetch:focus-visible { border-color: #2a8fd0; color: #2a8fd0; }
</style>"""
