"""Our DVC repositories and the real dvc's, each read by the other.
usage: dvc.py DVC_REPO_PROGRAM DVC_PROGRAM WORKDIR [SEED]
What we write must be clean to dvc and byte for byte what dvc writes; what dvc writes we must check out and pull."""
import io
import json
import os
import pathlib
import random
import shutil
import stat
import subprocess
import sys

from ruamel.yaml import YAML

OURS, DVC, WORK = (os.path.abspath(argument) for argument in sys.argv[1:4])
RANDOM = random.Random(int(sys.argv[4]) if len(sys.argv) > 4 else 1)
WORK = pathlib.Path(WORK)
ENVIRONMENT = {**os.environ, "DVC_NO_ANALYTICS": "1", "DVC_SITE_CACHE_DIR": str(WORK / "site")}


def run(command, cwd, expected=0):
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, env=ENVIRONMENT)
    said = (done.stdout + done.stderr).strip()
    assert done.returncode == expected, f"{command} -> {done.returncode}: {said}"
    return said


def dvc(repo, *arguments):
    return run([DVC, *arguments], repo)


def ours(repo, operation, *paths, expected=0):
    return run([OURS, operation, str(repo), *paths], WORK, expected)


def new_repo(name, remote, git=False):
    repo = WORK / name
    repo.mkdir()
    if git:
        run(["git", "init", "--quiet", "."], repo)
    dvc(repo, "init", "--quiet", *([] if git else ["--no-scm"]))
    dvc(repo, "remote", "add", "--quiet", "-d", "store", str(WORK / remote))
    return repo


def tree(root):
    files = (path for path in sorted(root.rglob("*")) if path.is_file())
    return {str(path.relative_to(root)): (path.read_bytes(), bool(path.stat().st_mode & stat.S_IXUSR)) for path in files}


def objects(root):
    return {name: content for name, (content, _) in tree(root / "files").items()}


def odd_names(count):
    parts = ["a", "é", "中", "😀", " ", "  ", "'", '"', "#", ": ", "- ", "? ", "!", "&", "*", "%", "@", "`", "{", "}", "[", "]", ",",
             "|", ">", "=", "~", "1", "0x1", "1e3", "null", "true", "yes", "long word " * 4, "under_score" * 9, "\t", "\x07", "\u00a0"]
    names = {"- x", "? y", "#z", "null", "1.5", "2026-01-01", "<<", "=", "true", "x: y", "it's", 'say "hi"', "a" * 90,
             "many words " * 10 + "end", "tab\there", " lead", "trail ", "...", "---", "quo'te " * 12 + "x", "back\\slash"}
    while len(names) < count:
        name = "".join(RANDOM.choice(parts) for _ in range(RANDOM.randint(1, 9)))
        if name.strip(".") and len(name.encode()) < 200 and not name.endswith(".dvc"):
            names.add(name)
    return sorted(names)


def survives(name):
    """Whether dvc's own file says the name: long lines are folded, and several spaces at a fold come back as one."""
    text = io.StringIO()
    yaml = YAML()
    yaml.default_flow_style = False
    yaml.dump({"outs": [{"path": name}]}, text)
    return YAML(typ="safe").load(text.getvalue())["outs"][0]["path"] == name


def fill(repo, many):
    data = repo / "data"
    for name, content in {"x.bin": bytes(range(256)), "sub/y.txt": b"hello\r\n", "sub/é ü.txt": "ü".encode(), "empty": b"", "B.txt": b"cap",
                          "a.txt": b"low", "deep/er/than/that/z": b"z", "sub/same": b"hello\r\n", "😀/\"q\".txt": b"q"}.items():
        path = data / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    for index in range(many):
        path = data / "many" / f"{index % 37:02}" / f"{index}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{index % (many - 10)}")
    (repo / "one.csv").write_bytes(b"a,b\r\n1,2\r\n")
    (repo / "run.sh").write_text("#!/bin/sh\n")
    (repo / "run.sh").chmod(0o755)
    (repo / "nested").mkdir()
    (repo / "nested" / "empty.txt").write_bytes(b"")


TARGETS = ["data", "one.csv", "run.sh", "nested/empty.txt"]


def clean(repo):
    for command, expected in ((["status"], "up to date"), (["status", "-c"], "in sync"), (["data", "status"], "No changes")):
        said = dvc(repo, *command)
        assert expected in said, f"dvc {' '.join(command)}: {said}"


def we_write_dvc_reads():
    repo, twin = new_repo("w", "remote-w"), new_repo("t", "remote-t")
    for place in (repo, twin):
        fill(place, 2000)
    ours(repo, "add", *TARGETS)
    dvc(twin, "add", "--quiet", *TARGETS)
    for target in TARGETS:
        mine, theirs = ((place / f"{target}.dvc").read_bytes() for place in (repo, twin))
        assert mine == theirs, f"{target}.dvc: {mine} is not {theirs}"
    assert objects(repo / ".dvc/cache") == objects(twin / ".dvc/cache"), "the caches differ"
    assert all(not path.stat().st_mode & 0o222 for path in (repo / ".dvc/cache/files").rglob("*") if path.is_file())
    ours(repo, "push")
    dvc(twin, "push", "--quiet")
    assert objects(WORK / "remote-w") == objects(WORK / "remote-t"), "the remotes differ"
    clean(repo)
    before = {target: tree(repo / target) if (repo / target).is_dir() else (repo / target).read_bytes() for target in TARGETS}
    for target in TARGETS:
        shutil.rmtree(repo / target) if (repo / target).is_dir() else (repo / target).unlink()
    shutil.rmtree(repo / ".dvc/cache")
    dvc(repo, "pull", "--quiet")
    assert before == {target: tree(repo / target) if (repo / target).is_dir() else (repo / target).read_bytes() for target in TARGETS}
    clean(repo)
    assert ours(repo, "status") == ""
    said = dvc(repo, "add", *TARGETS)
    assert all((repo / f"{target}.dvc").read_bytes() == (twin / f"{target}.dvc").read_bytes() for target in TARGETS), said
    print(f"what we added, dvc finds clean and pulls: {len(objects(WORK / 'remote-w'))} objects")


def dvc_writes_we_read():
    repo = new_repo("d", "remote-d")
    fill(repo, 1500)
    dvc(repo, "add", "--quiet", *TARGETS)
    dvc(repo, "push", "--quiet")
    assert ours(repo, "status") == ""
    before = tree(repo / "data"), (repo / "one.csv").read_bytes()
    shutil.rmtree(repo / "data")
    ours(repo, "checkout", "data")
    assert (tree(repo / "data"), (repo / "one.csv").read_bytes()) == before
    shutil.rmtree(repo / ".dvc/cache")
    shutil.rmtree(repo / "data")
    (repo / "one.csv").unlink()
    (repo / "run.sh").unlink()
    ours(repo, "pull")
    assert (tree(repo / "data"), (repo / "one.csv").read_bytes()) == before
    assert (repo / "run.sh").stat().st_mode & stat.S_IXUSR, "run.sh is not executable"
    clean(repo)
    victim = next(path for path in (repo / ".dvc/cache/files").rglob("*") if path.is_file() and path.stat().st_size == 4)
    victim.chmod(0o644)
    victim.write_bytes(b"evil")
    shutil.rmtree(repo / "data")
    said = ours(repo, "checkout", "data", expected=2)
    assert victim.name in said and len(said.splitlines()) == 1, said
    ours(repo, "pull", "data")
    assert tree(repo / "data") == before[0], "pull mends the cache"
    print("what dvc added and pushed, we check out and pull; a damaged object is named, then mended")


def odd_paths():
    mine, theirs = new_repo("om", "remote-om"), new_repo("ot", "remote-ot")
    drawn = odd_names(150)
    names = [name for name in drawn if survives(name)]
    for place in (mine, theirs):
        for name in drawn:
            (place / name).write_text(name)
    for name in set(drawn) - set(names):
        assert "would name another one" in ours(mine, "add", "--", name, expected=2)
    ours(mine, "add", "--", *names)
    dvc(theirs, "add", "--quiet", "--", *names)
    for name in names:
        one, two = ((place / f"{name}.dvc").read_bytes() for place in (mine, theirs))
        assert one == two, f"{name!r}: {one} is not {two}"
        (theirs / name).unlink()
    ours(theirs, "checkout")
    assert all((theirs / name).read_text() == name for name in names)
    said = dvc(mine, "status")
    assert "up to date" in said, said
    print(f"{len(names)} odd names are written as dvc writes them, and read back")


def stages():
    mine, theirs = new_repo("sm", "remote-sm"), new_repo("st", "remote-st")
    pipeline = """\
stages:
  count:
    cmd: wc -l < one.csv > out.txt && echo '{}' > m.json
    deps:
    - one.csv
    - data
    params:
    - lr
    - nest.k
    - list
    - other.json:
      - deep.er
    - all.yaml:
    outs:
    - out.txt
    metrics:
    - m.json:
        cache: false
  each:
    cmd:
    - mkdir -p res
    - cp out.txt res/copy
    deps: [out.txt]
    outs:
    - res
  below:
    wdir: nested
    cmd: cat empty.txt > made
    deps: [empty.txt, ../one.csv]
    outs: [made]
"""
    for place in (mine, theirs):
        fill(place, 30)
        (place / "dvc.yaml").write_text(pipeline)
        (place / "params.yaml").write_text("lr: 1e-3 # small\nnest: {k: 0x10, on: yes}\nlist: [1, 2.50, 'a: b', ~, true, 1e17]\n")
        (place / "other.json").write_text('{"deep": {"er": [1.0, "x"]}}')
        (place / "all.yaml").write_text("b: {z: 1, a: 2}\na: -0.0\n")
        dvc(place, "repro", "--quiet") if place == theirs else None
    for path in ("out.txt", "m.json", "res/copy", "nested/made"):
        (mine / path).parent.mkdir(exist_ok=True)
        shutil.copy(theirs / path, mine / path)
    ours(mine, "commit", "count", "each", "below")
    one, two = ((place / "dvc.lock").read_text() for place in (mine, theirs))
    assert one == two, f"{one}\n--- is not\n{two}"
    said = dvc(mine, "repro", "--dry")
    assert "up to date" in said and "Running" not in said, said
    assert "up to date" in dvc(mine, "status")
    (mine / "out.txt").unlink()
    shutil.rmtree(mine / "res")
    ours(mine, "checkout")
    assert (mine / "res/copy").read_bytes() == (theirs / "res/copy").read_bytes()
    ours(mine, "push")
    assert "in sync" in dvc(mine, "status", "-c")
    print("stages that we commit, dvc repro has nothing to do for; dvc.lock is the same")


def under_git():
    mine, theirs = new_repo("gm", "remote-gm", git=True), new_repo("gt", "remote-gt", git=True)
    for place in (mine, theirs):
        fill(place, 5)
        (place / "a [1]!.csv").write_text("x")
        (place / ".dvcignore").write_text("*.tmp\n/data/many/\n!keep.tmp\n")
        (place / "data" / "no.tmp").write_text("no")
        (place / "data" / "keep.tmp").write_text("yes")
    targets = [*TARGETS, "a [1]!.csv"]
    ours(mine, "add", *targets)
    dvc(theirs, "add", "--quiet", *targets)
    for name in [".gitignore", "nested/.gitignore", *(f"{target}.dvc" for target in targets)]:
        one, two = ((place / name).read_bytes() for place in (mine, theirs))
        assert one == two, f"{name}: {one} is not {two}"
    print("under git, .gitignore and .dvcignore are the same")


def main():
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True)
    print(json.dumps({"dvc": dvc(WORK, "--version")}))
    for check in (we_write_dvc_reads, dvc_writes_we_read, odd_paths, stages, under_git):
        check()


main()
