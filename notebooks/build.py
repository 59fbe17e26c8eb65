"""Makes each notebook of its .py file and runs it: `python notebooks/build.py` after an edit."""

import base64
import io
import os
from pathlib import Path

import jupytext
import nbclient
import nbformat
from PIL import Image

HERE = Path(__file__).resolve().parent


def execute(notebook, folder):
    """The notebook with its outputs, run in `folder` with the library of this checkout."""
    paths = [str(HERE.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    client = nbclient.NotebookClient(
        notebook, timeout=600, record_timing=False, resources={"metadata": {"path": str(folder)}}
    )
    return client.execute(env=environment)


def numbered(notebook):
    """The same ids at every build, so that only what changed differs."""
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"
    return notebook


def shrink(notebook):
    """Pictures as JPEG: a fifth of the size. Sliders are left out: they live no longer than their process."""
    for output in (output for cell in notebook.cells for output in cell.get("outputs", [])):
        output.get("data", {}).pop("application/vnd.jupyter.widget-view+json", None)
        if "image/png" in output.get("data", {}):
            picture = Image.open(io.BytesIO(base64.b64decode(output.data.pop("image/png")))).convert("RGB")
            small = io.BytesIO()
            picture.save(small, "JPEG", quality=80, optimize=True)
            output.data["image/jpeg"] = base64.b64encode(small.getvalue()).decode()


if __name__ == "__main__":
    for source in sorted(HERE.glob("[0-9]*.py")):
        notebook = execute(numbered(jupytext.read(source)), HERE)
        shrink(notebook)
        for cell in notebook.cells:
            cell.metadata.clear()
        notebook.metadata = {"kernelspec": notebook.metadata["kernelspec"]}
        path = source.with_suffix(".ipynb")
        nbformat.write(notebook, path)
        print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")
