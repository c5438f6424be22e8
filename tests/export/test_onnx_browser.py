"""An exported folder answers in Chromium: static files on 127.0.0.1, no other server, no other host."""

from __future__ import annotations

import functools
import http.server
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from export.npm import libraries
from export.onnx_models import TEXTS

from antiphon.generation.model import Model

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
PAGE = """<!doctype html><meta charset="utf-8"><title>ONNX</title><link rel="icon" href="data:,">
<script type="module">
import * as ort from "./ort.wasm.bundle.min.mjs";
import { Tokenizer } from "./tokenizers.min.mjs";
import { OnnxModel } from "./out/antiphon-onnx.mjs";
ort.env.wasm.numThreads = 1;
ort.env.wasm.wasmPaths = { wasm: new URL("./ort-wasm-simd-threaded.wasm", location.href).href };
window.loaded = OnnxModel.load(ort, "./out", { Tokenizer });
</script>"""


class _Quiet(http.server.SimpleHTTPRequestHandler):
    extensions_map = {**http.server.SimpleHTTPRequestHandler.extensions_map, ".mjs": "text/javascript"}  # noqa: RUF012

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def site(exported: Path, tmp_path: Path) -> Iterator[str]:
    """The address of a folder with the page, the libraries and the exported files."""
    libraries(tmp_path)
    shutil.copytree(exported, tmp_path / "out")
    (tmp_path / "index.html").write_text(PAGE, encoding="utf-8")
    handler = functools.partial(_Quiet, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_the_page_gives_the_answers_of_the_model(site: str, model: Model) -> None:
    api = pytest.importorskip("playwright.sync_api", reason="needs Playwright: pip install playwright")
    path = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if path is None:
        pytest.skip(f"needs a browser on the PATH: {', '.join(CHROMIUM)} (apt-get install chromium)")
    faults: list[str] = []
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        page = browser.new_page()
        page.set_default_timeout(60_000)
        page.on("console", lambda message: message.type == "error" and faults.append(message.text))
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on(
            "request", lambda request: request.url.startswith((site, "blob:", "data:")) or faults.append(request.url)
        )
        page.goto(f"{site}/index.html")
        found = page.evaluate(
            """async (texts) => {
                const model = await window.loaded;
                const answers = [];
                for (const text of texts) answers.push([
                    model.tokenizers.source.encode(text, { add_special_tokens: false }).ids,
                    await model.generate(text, 12)]);
                return answers;
            }""",
            TEXTS,
        )
        browser.close()
    assert faults == []
    tokenizer = model.source_tokenizer
    assert [ids for ids, _ in found] == [tokenizer.bare(tokenizer.encode(text)) for text in TEXTS]
    wanted = [each.text for each in model.generate(TEXTS, beam_size=1, max_new_tokens=12)]
    assert [text for _, text in found] == wanted and any(wanted)
