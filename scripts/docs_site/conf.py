"""Settings of Sphinx for the documentation site. `python -m scripts.docs_site` calls it."""

project = "preptime"
author = "The preptime authors"
copyright = "The preptime authors. Apache-2.0"  # noqa: A001

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "scripts.docs_site.extension",
]
root_doc = "index"
nitpicky = True

# Pages are GitHub's Markdown. Anchors are those that GitHub generates.
myst_enable_extensions = ["attrs_block", "colon_fence"]
myst_heading_anchors = 4
myst_fence_as_directive = ["mermaid"]

# Notebooks show their stored outputs. The tests execute them (tests/examples).
nb_execution_mode = "off"
nb_merge_streams = True
# An SVG or PNG picture before HTML, because the HTML of a chart loads scripts from the internet.
nb_mime_priority_overrides = [("html", "image/svg+xml", 1), ("html", "image/png", 2)]
# A widget shows its text. Its scripts would be loaded from the internet.
nb_ipywidgets_js: dict[str, dict[str, str]] = {}

autoclass_content = "both"
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 80
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_preprocess_types = True
add_module_names = False

copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

html_theme = "pydata_sphinx_theme"
html_title = "preptime"
html_static_path = ["../../docs/site/static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_copy_source = False
html_use_index = False
html_theme_options = {
    "logo": {
        "text": "preptime",
        "image_light": f"{html_static_path[0]}/logo.svg",
        "image_dark": f"{html_static_path[0]}/logo.svg",
    },
    "header_links_before_dropdown": 7,
    "navbar_align": "left",
    "navbar_persistent": ["search-button"],
    "navbar_end": ["version-switcher", "theme-switcher", "navbar-icon-links"],
    "show_toc_level": 2,
    "search_as_you_type": True,
    "icon_links": [
        {"name": "Repository", "url": "https://github.com/preptime/preptime", "icon": "fa-brands fa-github"}
    ],
    # In the folder of all versions, where scripts/docs_site/versions.py writes it. The extension sets the version.
    "switcher": {"json_url": "../switcher.json", "version_match": "latest"},
    "check_switcher": False,
    "show_version_warning_banner": True,
    "footer_start": ["copyright"],
    "footer_end": [],
    "show_prev_next": True,
    "secondary_sidebar_items": ["page-toc"],
    "back_to_top_button": True,
}
html_context = {"default_mode": "auto"}
html_favicon = f"{html_static_path[0]}/logo.svg"
# Pages without a list of pages in their section.
html_sidebars: dict[str, list[str]] = {name: [] for name in ("index", "get-started", "search", "genindex")}
