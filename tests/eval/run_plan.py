"""Runs the cells of a plan, a few at a time, and keeps each result: what is there already is not run again."""
import concurrent.futures
import hashlib
import json
import pathlib
import shutil
import subprocess
import sys
import time


class Cell:
    """A line of a plan, and where its result is kept."""

    def __init__(self, number, line, path):
        self.number, self.line, self.path = number, line, path
        words = line.split()
        self.kind, self.what = words[0], words[1]
        self.options = dict(word.split("=", 1) for word in words[2:])

    def result(self):
        with open(self.path, encoding="utf-8") as file:
            return json.load(file)


def digest(*parts):
    total = hashlib.sha256()
    for part in parts:
        total.update(part)
    return total.hexdigest()[:16]


def cells_of(runner, plan, lists, folder, quick):
    """All cells of the plan. A result is named after the program that made it and everything the program was told."""
    listing = subprocess.run([runner, plan, "list"], check=True, stdout=subprocess.PIPE, text=True).stdout
    program = pathlib.Path(runner).read_bytes()
    defaults = "\n".join(line for line in pathlib.Path(plan).read_text(encoding="utf-8").splitlines()
                         if line.startswith(("default", "attack-seed")))
    names = "".join(sorted(str(path.name) for path in pathlib.Path(lists).glob("*/*"))) if lists else ""
    cells = []
    for row in listing.splitlines():
        number, line = row.split("\t", 1)
        key = digest(program, defaults.encode(), line.encode(), names.encode(), str(quick).encode())
        cells.append(Cell(int(number), line, folder / f"{line.split()[1]}-{key}.json"))
    return cells


def run_cell(runner, plan, lists, quick, cell):
    command = ["nice", runner, plan, str(cell.number)]
    command += ["--lists", lists] if lists else []
    command += ["--quick"] if quick else []
    run = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
    if run.returncode:
        return f"cell {cell.number} ({cell.line}): status {run.returncode}: {run.stderr.strip()}"
    json.loads(run.stdout)
    part = cell.path.with_suffix(".part")
    part.write_text(run.stdout, encoding="utf-8")
    part.replace(cell.path)
    return None


def keep_copies(runner, plan, folder):
    """The program and the plan as they are now: somebody may edit or build while cells run."""
    folder.mkdir(parents=True, exist_ok=True)
    copies = []
    for path in (pathlib.Path(runner), pathlib.Path(plan)):
        copy = folder / f"{path.stem}-{digest(path.read_bytes())}{path.suffix}"
        if not copy.exists():
            part = copy.with_suffix(".new")
            shutil.copy(path, part)
            part.replace(copy)
        copies.append(str(copy))
    commit = pathlib.Path(copies[0] + ".commit")
    if not commit.exists():
        commit.write_text(commit_now(), encoding="utf-8")
    return copies


def commit_now():
    """What the working tree was when a program was taken for a run."""
    def git(*words):
        here = pathlib.Path(__file__).resolve().parent
        return subprocess.run(["git", "-C", here, *words], stdout=subprocess.PIPE, text=True, check=False).stdout.strip()

    changed = " with changes" if git("status", "--porcelain", "--untracked-files=no") else ""
    return f"commit {git('rev-parse', '--short=10', 'HEAD')}{changed}"


def run_all(runner, plan, lists, folder, quick=False, jobs=2, only=None):
    """Cells are run from copies of the program and the plan. Returns (cells with a result, complaints, seconds spent now)."""
    cells = [cell for cell in cells_of(runner, plan, lists, folder, quick) if not only or only.search(cell.line)]
    todo = [cell for cell in cells if not cell.path.exists()]
    todo.sort(key=lambda cell: (cell.kind != "benign", "flood" not in cell.options, cell.options.get("age", "0") == "0"))  # long ones first
    began, complaints = time.monotonic(), []
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        pending = {pool.submit(run_cell, runner, plan, lists, quick, cell): cell for cell in todo}
        for done, future in enumerate(concurrent.futures.as_completed(pending), 1):
            if future.result():
                complaints.append(future.result())
                print(future.result(), file=sys.stderr)
            if sys.stderr.isatty() or done % 10 == 0 or done == len(todo):
                print(f"{done}/{len(todo)} cells, {time.monotonic() - began:.0f} s", file=sys.stderr)
    return [cell for cell in cells if cell.path.exists()], complaints, time.monotonic() - began
