"""The little that Streamlit's theme cannot say."""

from __future__ import annotations

STYLE = """<style>
.callout { border-left: 4px solid #0072b2; background: rgba(0, 114, 178, .09); border-radius: .4rem;
  padding: .7rem .9rem; overflow-wrap: anywhere; white-space: pre-wrap; }
.callout span { display: block; font-weight: 500; }
.callout small { display: block; opacity: .8; margin-top: .15rem; font-size: .9em; }
.callout.problem { border-color: #d55e00; background: rgba(213, 94, 0, .11); }
.callout.good { border-color: #009e73; background: rgba(0, 158, 115, .11); }
</style>"""
