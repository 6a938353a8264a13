"""Sphinx's settings for the documentation site, and the pages that are generated before it reads the others."""

from __future__ import annotations

import atexit
import os
import re
import shutil
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
sys.path.insert(0, str(DOCS))
os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])  # for the notebooks' kernels
os.environ.setdefault("MATNET_OFFLINE", "1")
os.environ["JUPYTER_PLATFORM_DIRS"] = "1"

import generate  # noqa: E402

import matnet  # noqa: E402

project = "matnet"
author = "the matnet developers"
copyright = "2026, the matnet developers"
version = release = matnet.__version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "gallery"]
exclude_patterns = ["_build", "jupyter_execute", "**/.ipynb_checkpoints"]
templates_path: list[str] = []
html_theme = "furo"
html_title = f"matnet {version}"
html_static_path = ["_static"]
html_css_files = ["matnet.css"]
html_show_sourcelink = False
html_show_search_summary = False  # a browser lets no page that is opened as a file read others for excerpts
html_copy_source = False

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
suppress_warnings = ["config.cache"]

autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_typehints = "signature"
autodoc_class_signature = "mixed"
python_maximum_signature_line_length = 100

clone = tempfile.mkdtemp(prefix="matnet-docs-")  # notebooks run where a reader does: at the top of a clone
atexit.register(shutil.rmtree, clone)
for path in ROOT.iterdir():
    if not path.name.startswith("."):
        os.symlink(path, os.path.join(clone, path.name))
profile = Path(clone, ".ipython", "profile_default", "startup")
profile.mkdir(parents=True)
Path(profile, "top.py").write_text(f"import os\nos.chdir({clone!r})\n", encoding="utf-8")
os.environ["IPYTHONDIR"] = str(profile.parents[1])
os.environ["MATNET_HOME"] = os.path.join(clone, ".matnet")

nb_execution_mode = "cache" if os.environ.get("MATNET_DOCS_CACHE") else "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 240
nb_execution_excludepatterns = [] if find_spec("torch") else generate.NEED_TORCH
nb_merge_streams = True
nb_execution_show_tb = True

linkcheck_ignore = [r"https?://"]  # only what lies in the site; addresses of others come and go

LINK = re.compile(r"(?P<text>!?\[[^\]\n]*\])\((?P<target>\.\./[^)\s]+)\)")


def replace_outside_links(app: Any, name: str, source: list[str]) -> None:
    """Links to files outside docs/ become links to their pages here, or, for code, the text alone."""
    source[0] = LINK.sub(lambda found: inside(DOCS / f"{name}.md", found["text"], found["target"]), source[0])


def inside(page: Path, text: str, target: str) -> str:
    path, _, anchor = target.partition("#")
    place = Path(os.path.normpath(page.parent / path))
    if place.is_relative_to(DOCS):
        return f"{text}({target})"
    moved = generate.page_of(place.relative_to(ROOT).as_posix())
    if moved is None:
        return text[1:-1] if "`" in text else f"`{text[1:-1]}`"
    return f"{text}({os.path.relpath(DOCS / moved, page.parent)}{f'#{anchor}' if anchor else ''})"


def write_pages(app: Any) -> None:
    generate.write_all(DOCS)


def plain_docstring(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Docstrings are plain text with `code`: what reStructuredText would read otherwise is escaped."""
    lines[:] = generate.as_rst(lines)


def all_documented(app: Any, error: Exception | None) -> None:
    """The build fails where a public name has no entry in the index."""
    if error is not None or app.builder.name != "html":
        return
    known = set(app.env.get_domain("py").objects)
    missing = [f"{module}.{name}" for module, names in generate.public_names().items() for name in names]
    missing = [name for name in missing if name not in known]
    if missing:
        raise RuntimeError(f"public names without an entry in the reference: {', '.join(missing)}")


def setup(app: Any) -> None:
    app.connect("builder-inited", write_pages)
    app.connect("source-read", replace_outside_links)
    app.connect("autodoc-process-docstring", plain_docstring)
    app.connect("build-finished", all_documented)
