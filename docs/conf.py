"""The documentation site: Sphinx with MyST (plain Markdown), executed tutorials and furo. `make docs` builds it.

The source folder is the repository's root, so that a link leads to the same file here and on a forge.
"""

import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
SOURCE = str(HERE.parent / "src")
sys.path[:0] = [str(HERE), SOURCE]
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [SOURCE, os.environ.get("PYTHONPATH")]))  # for the tutorials

from sitebuild.hooks import register as setup  # noqa: E402, F401

from bittailor._version import __version__  # noqa: E402

project, author = "bittailor", "the bittailor developers"
version = release = __version__
html_title = f"bittailor {__version__}"
root_doc = "docs/index"
extensions = ["sphinx.ext.autodoc", "sphinx.ext.mathjax", "myst_nb"]
include_patterns = ["docs/*.md", "docs/tutorials/*.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"]
exclude_patterns = [".*", "build", "dist", "runs", "src", "tests", "results", "benchmarks", "examples", "tools"]

# Markdown: anchors as forges make them; a link to nowhere is a warning, and `make docs` makes that an error
nitpicky = True
myst_heading_anchors = 4
myst_enable_extensions = ["deflist"]
suppress_warnings = ["misc.highlighting_failure"]  # C with an ellipsis in it is not C

# tutorials are run each time, and fail the build where a cell does or where one takes too long
nb_execution_mode = "force"
nb_execution_timeout = 60
nb_execution_raise_on_error = True
nb_execution_in_temp = True
nb_merge_streams = True
nb_output_stderr = "remove"  # a line a generation; the bar of a notebook says the same

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 100

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = html_show_copyright = False
smartquotes = False  # --option stays what one types
html_theme_options = {"navigation_with_keys": True}
pygments_style, pygments_dark_style = "friendly", "monokai"
