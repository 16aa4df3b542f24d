"""What mkdocs does besides: pages from files outside docs/, the API reference, and facts of tasks.

A page may link to any file of the repository, so that its links work where the repository is browsed too; here they
are turned into links to the page that shows that file.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from pygments.formatters import HtmlFormatter
from reference import index_page, module_page, navigation, public_modules
from task_facts import with_facts

ROOT = Path(__file__).parents[2]
_SHOWN = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changes.md"}
_RESULTS = "benchmarks/results"
_SHOWN_RESULTS = (".md", ".png", ".webp", ".html")
_CODE = re.compile(r"(?:rise_gym|envs|agents)/[\w/]+\.py")
_LINK = re.compile(r"(?<=\]\()(?!https?:|#)([^)#\s]+)")
_FENCED = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the modules into the navigation."""
    assert config.nav is not None
    config.nav[-1]["API reference"] += navigation(ROOT)
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what is not below docs/."""
    for source, page in _SHOWN.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text()))
    for path in sorted((ROOT / _RESULTS).iterdir()):
        if path.suffix in _SHOWN_RESULTS:
            files.append(File.generated(config, f"results/{path.name}", abs_src_path=str(path)))
    files.append(File.generated(config, "api/index.md", content=index_page(ROOT)))
    for module in public_modules(ROOT):
        files.append(File.generated(config, f"api/{module}.md", content=module_page(module)))
    style = HtmlFormatter(style="default").get_style_defs(".highlight")
    files.append(File.generated(config, "code.css", content=style))
    return files


def on_page_markdown(markdown: str, *, page: Page, **_: Any) -> str:
    """Fill in facts, and turn links to files of the repository into links to pages."""
    place = page.file.src_uri
    folder = {**dict.fromkeys(_SHOWN.values(), ""), "results": _RESULTS}.get(
        "results" if place.startswith("results/") else place, str(Path("docs", place).parent)
    )
    up = "../" * place.count("/")
    parts = _FENCED.split(with_facts(markdown, ROOT))
    return "".join(
        part if part.startswith("```") else _LINK.sub(lambda m: _shown(m[1], folder, up), part) for part in parts
    )


def _shown(link: str, folder: str, up: str) -> str:
    """Where the site has what a link leads to, from a page whose source lies in `folder`."""
    target = (ROOT / folder / link).resolve()
    if not target.is_relative_to(ROOT):
        return link
    name = target.relative_to(ROOT).as_posix()
    if name in _SHOWN:
        return up + _SHOWN[name]
    if name.startswith(f"{_RESULTS}") and (target.is_dir() or target.suffix in _SHOWN_RESULTS):
        return up + ("results/README.md" if target.is_dir() else f"results/{target.name}")
    if _CODE.fullmatch(name):
        module = name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        return f"{up}api/{module if module.startswith('rise_gym') else f'rise_gym.{module}'}.md"
    return up + name.removeprefix("docs/") if name.startswith("docs/") else link
