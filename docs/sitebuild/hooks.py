"""Hooks of the site: docstrings, short public names, notebooks beside tutorials, a list of the external links."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

from sitebuild.docstrings import converted
from sitebuild.public import exported, reachable

ARRAY = re.compile(r"~?(?:numpy\.)?ndarray\[tuple\[~?(?:typing\.)?Any, \.\.\.\], "
                   r"~?(?:numpy\.)?dtype\[~?(?:numpy\.|typing\.)?(\w+)\]\]")
ANYTHING = re.compile(r"(?:~?[\w.]*\b_?(?:Buffer|SupportsArray|NestedSequence)\b(?:\[[^|]*?\]+(?=[ ,)]|$))? \| )+"
                      r"complex \| bytes \| str \| ~?[\w.]*_NestedSequence\[complex \| bytes \| str\]")
NOTEBOOK = '<p class="notebook">This page as a notebook: <a href="{name}.ipynb" download>{name}.ipynb</a></p>'
HOME = ('<!doctype html><html lang="en"><meta charset="utf-8"><title>bittailor</title>'
        '<meta http-equiv="refresh" content="0; url=docs/index.html"><a href="docs/index.html">bittailor</a></html>\n')
LINKS = "external_links.txt"


def docstring(app: Sphinx, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Of everything that autodoc shows."""
    lines[:] = converted(lines)


def signature(app: Sphinx, what: str, name: str, thing: Any, options: Any, text: str | None,
              returns: str | None) -> tuple[str | None, str | None]:
    """Array types by their short names, as the source has them."""
    def short(annotation: str | None) -> str | None:
        return annotation and ARRAY.sub(r"NDArray[\1]", ANYTHING.sub("ArrayLike", annotation))

    return short(text), short(returns)


def documented() -> dict[str, str]:
    """Last part of a class's name -> the name that it is documented under."""
    errors = {name: f"bittailor.errors.{name}" for name in vars(__import__("bittailor.errors").errors)
              if name[0].isupper()}
    return {**errors, **{name.rpartition(".")[2]: name for name in reachable()},
            **{name: f"bittailor.{name}" for name in exported()}}


def short_name(app: Sphinx, env: BuildEnvironment, node: pending_xref, content: nodes.Element) -> nodes.Node | None:
    """A name in a signature: a link where it is public, otherwise the name alone (NumPy, torch, what is internal)."""
    if node.get("refdomain") != "py":
        return None
    known = documented().get(str(node["reftarget"]).rpartition(".")[2])
    objects = env.domains.python_domain.objects
    if known is None or known not in objects:
        return content
    place = objects[known]
    link = nodes.reference("", "", content, internal=True, reftitle=known)
    link["refuri"] = f"{app.builder.get_relative_uri(node.get('refdoc', env.docname), place.docname)}#{place.node_id}"
    return link


def note_links(app: Sphinx, tree: nodes.document, page: str) -> None:
    """Keep the external links of a page; they are listed, not fetched."""
    found = {str(node["refuri"]) for node in tree.findall(nodes.reference) if "://" in node.get("refuri", "")}
    app.env.metadata[page]["external"] = sorted(found)


def notebook_link(app: Sphinx, page: str, template: str, context: dict[str, Any], tree: nodes.document | None) -> None:
    """A tutorial says where its notebook is."""
    if page.startswith("docs/tutorials/") and "body" in context:
        context["body"] += NOTEBOOK.format(name=page.rpartition("/")[2])


def finish(app: Sphinx, error: Exception | None) -> None:
    """Put the executed notebooks beside their pages, the way in at the top, and the external links into a file."""
    if error is not None or app.builder.name != "html":
        return
    out = Path(app.outdir)
    for notebook in (out.parent / "jupyter_execute" / "docs" / "tutorials").glob("*.ipynb"):
        shutil.copy(notebook, out / "docs" / "tutorials" / notebook.name)
    (out / "index.html").write_text(HOME)
    links = [f"{page}  {link}" for page in sorted(app.env.metadata) for link in
             app.env.metadata[page].get("external", [])]
    (out.parent / LINKS).write_text("\n".join(links) + "\n")


def register(app: Sphinx) -> None:
    """Connect them all."""
    app.connect("autodoc-process-docstring", docstring)
    app.connect("autodoc-process-signature", signature)
    app.connect("missing-reference", short_name)
    app.connect("doctree-resolved", note_links)
    app.connect("html-page-context", notebook_link)
    app.connect("build-finished", finish)
