"Run notebooks and store their outputs: `python docs/run_notebooks.py [nbs/05_data.ipynb …]`; all of them where none is named."
import os
import subprocess
import sys
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
ROOT = Path(__file__).parent.parent


def run(notebook: Path):
    "Execute one notebook in place; figures as plain PNGs, small enough for a repository."
    from execnb.shell import CaptureShell
    print(notebook.relative_to(ROOT), flush=True)
    shell = CaptureShell(path=notebook.parent, mpl_format="png")
    shell._run("import matplotlib; matplotlib.rcParams['figure.dpi'] = 72")
    shell.execute(notebook, notebook, exc_stop=True)


if __name__ == "__main__":
    os.environ["IN_TEST"] = "1"  # cells that export do not
    chosen = [Path(a).resolve() for a in sys.argv[1:]] or sorted((ROOT / "nbs").rglob("[!_.]*.ipynb"))
    for notebook in chosen:  # a process each: what one imports must not help the next
        if len(chosen) == 1: run(notebook)
        else: subprocess.run([sys.executable, __file__, str(notebook)], check=True)
    if len(chosen) > 1 or sys.argv[1:]: subprocess.run([Path(sys.executable).with_name("nbdev_clean")], cwd=ROOT, check=True)
