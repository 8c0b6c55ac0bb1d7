"""The little that Streamlit's theme cannot say."""

from __future__ import annotations

STYLE = """<style>
.callout { border-left: 4px solid #0072b2; background: rgba(0, 114, 178, .09); border-radius: .4rem;
  padding: .7rem .9rem; overflow-wrap: anywhere; white-space: pre-wrap; }
.callout span { display: block; font-weight: 500; }
.callout small { display: block; opacity: .8; margin-top: .15rem; font-size: .9em; }
.callout.problem { border-color: #d55e00; background: rgba(213, 94, 0, .11); }
.callout.good { border-color: #009e73; background: rgba(0, 158, 115, .11); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(11rem, 1fr)); gap: .7rem; margin: .2rem 0; }
.tiles > div { border: 1px solid rgba(128, 138, 148, .28); border-radius: .5rem; padding: .7rem .9rem; }
.tiles b { display: block; font-size: 1.75rem; line-height: 1.2; font-weight: 650; font-variant-numeric: tabular-nums; }
.tiles b small { font-size: .95rem; font-weight: 500; opacity: .75; }
.tiles span { font-size: .88rem; opacity: .8; }
.heading { font-size: 1.12rem; font-weight: 650; margin: .1rem 0 0; padding: 0; overflow-wrap: anywhere; }
.says { margin: 0; opacity: .82; max-width: 56rem; overflow-wrap: anywhere; }
.facts { display: flex; flex-wrap: wrap; gap: .35rem 1.6rem; margin: .2rem 0; }
.facts dt { font-size: .8rem; opacity: .7; }
.facts dd { margin: 0; overflow-wrap: anywhere; }
.timeline { list-style: none; margin: .4rem 0; padding: 0 0 0 1.3rem; }
.timeline li { position: relative; padding: 0 0 1rem 1.1rem; border-left: 2px solid rgba(128, 138, 148, .35); }
.timeline li::before { content: ""; position: absolute; left: -.5rem; top: .25rem; width: .85rem; height: .85rem;
  border-radius: 50%; background: #0072b2; }
.timeline li.refresh::before { background: #009e73; border-radius: .15rem; }
.timeline li.override::before { background: #d55e00; transform: rotate(45deg); border-radius: .1rem; }
.timeline li.rollback::before { background: #cc79a7; clip-path: polygon(0 50%, 100% 0, 100% 100%); border-radius: 0; }
.timeline li:first-child b { font-weight: 700; }
.timeline b { font-weight: 600; overflow-wrap: anywhere; }
.timeline span { display: block; font-size: .88rem; opacity: .75; }
.timeline p { margin: .1rem 0 0; overflow-wrap: anywhere; white-space: pre-wrap; }
</style>"""
