"Notebooks are clean and the package is what they export: run nbdev's commands on a copy, and compare."
import difflib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent


def differences() -> list:
    "Files that nbdev_clean or nbdev_export would change, with the first lines of each change."
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "vidcls"
        copy.mkdir()
        for name in ("settings.ini", "setup.py", "README.md"): shutil.copy(ROOT / name, copy / name)
        for name in ("nbs", "vidcls"): shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints"))
        env = os.environ | {"PYTHONPATH": str(copy)}
        for command in ("nbdev_clean", "nbdev_export"): subprocess.run([Path(sys.executable).with_name(command)], cwd=copy, check=True, env=env)
        found = []
        for new in sorted(f for name in ("nbs", "vidcls") for f in (copy / name).rglob("*") if f.suffix in (".py", ".ipynb")):
            old = ROOT / new.relative_to(copy)
            a, b = (f.read_text(encoding="utf-8").splitlines() if f.exists() else [] for f in (old, new))
            if a != b: found.append(f"{old.relative_to(ROOT)}\n" + "\n".join(list(difflib.unified_diff(a, b, "as it is", "as nbdev makes it", lineterm="", n=0))[:12]))
        return found


if __name__ == "__main__":
    found = differences()
    for text in found: print(text)
    if found: sys.exit(f"{len(found)} files are not what nbdev_clean and nbdev_export make; run both, and commit")
    print("notebooks are clean and exported")
