"""Our program is killed (kill -9) at random moments while it writes a DVC repository.
usage: dvc_kills.py DVC_REPO_PROGRAM DVC_PROGRAM WORKDIR [KILLS [SEED]]
Whatever is killed when: no object and no data file is torn, a directory's object promises no file that is not there, the
same command given again completes, and then the real dvc finds everything clean."""
import hashlib
import json
import os
import pathlib
import random
import shutil
import subprocess
import sys
import time

OURS, DVC, WORK = (os.path.abspath(argument) for argument in sys.argv[1:4])
KILLS = int(sys.argv[4]) if len(sys.argv) > 4 else 60
RANDOM = random.Random(int(sys.argv[5]) if len(sys.argv) > 5 else 1)
WORK = pathlib.Path(WORK)
ENVIRONMENT = {**os.environ, "DVC_NO_ANALYTICS": "1", "DVC_SITE_CACHE_DIR": str(WORK / "site")}
REPO, REMOTE = WORK / "repo", WORK / "remote"
DATA, DVC_FILE = REPO / "data", REPO / "data.dvc"
# How often dvc itself is asked; it takes a second to start.
DVC_EVERY = 6


def dvc(*arguments):
    done = subprocess.run([DVC, *arguments], cwd=REPO, capture_output=True, text=True, env=ENVIRONMENT)
    assert done.returncode == 0, f"dvc {arguments}: {done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def ours(operation):
    """Runs to its end and gives the seconds that it took."""
    begun = time.monotonic()
    done = subprocess.run([OURS, operation, str(REPO), *(["data"] if operation == "add" else [])], capture_output=True, text=True)
    assert done.returncode == 0, f"{operation} again after a kill: {done.stdout}{done.stderr}"
    return time.monotonic() - begun


def killed(operation, seconds):
    """Whether the program was still running when it was killed."""
    command = [OURS, operation, str(REPO), *(["data"] if operation == "add" else [])]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(seconds)
    running = process.poll() is None
    process.kill()
    process.wait()
    return running


def change(step):
    """New, changed, removed and equal files, small and some larger."""
    for number in range(40):
        path = DATA / f"{RANDOM.randrange(8)}" / f"{RANDOM.randrange(60)}.bin"
        if RANDOM.random() < 0.15:
            path.unlink(missing_ok=True)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.write_bytes(RANDOM.randbytes(RANDOM.choice([0, 10, 3_000, 400_000])))
    (DATA / "step.txt").unlink(missing_ok=True)
    (DATA / "step.txt").write_text(f"{step}")


def tree():
    return {str(path.relative_to(DATA)): path.read_bytes() for path in DATA.rglob("*") if path.is_file()}


def check_objects(root):
    """Every object is what its name says, and all that a directory lists is there."""
    files = root / "files" / "md5"
    found, listed = set(), {}
    for path in files.glob("??/*"):
        if len(path.name.removesuffix(".dir")) != 30 or not set(path.name.removesuffix(".dir")) <= set("0123456789abcdef"):
            continue  # a file in the making, under a name that no object has
        content = path.read_bytes()
        name = path.parent.name + path.name
        assert hashlib.md5(content).hexdigest() == name.removesuffix(".dir"), f"{path} is torn"
        found.add(name)
        if name.endswith(".dir"):
            listed[name] = {entry["md5"] for entry in json.loads(content)}
    for name, wanted in listed.items():
        assert wanted <= found, f"{name} in {root} promises {len(wanted - found)} files that are not there"
    return found


def check_dvc_file(known):
    """It is one of the versions that there were, or a new one that is whole."""
    text = DVC_FILE.read_bytes()
    if text not in known:
        lines = text.decode().splitlines()
        assert lines[0] == "outs:" and lines[-1] == "  path: data", f"data.dvc is torn: {text}"
    return text


def main():
    shutil.rmtree(WORK, ignore_errors=True)
    REPO.mkdir(parents=True)
    dvc("init", "--quiet", "--no-scm")
    dvc("remote", "add", "--quiet", "-d", "store", str(REMOTE))
    DATA.mkdir()
    for step in range(12):
        change(-step)
    takes = {"add": ours("add"), "push": ours("push"), "checkout": 0.05}
    versions = {DVC_FILE.read_bytes(): tree()}
    hits = {"add": 0, "push": 0, "checkout": 0}
    for step in range(KILLS):
        operation = ("add", "push", "checkout")[step % 3]
        if operation == "add":
            change(step)
        if operation == "checkout":
            before = tree()
            target = RANDOM.choice(list(versions))
            DVC_FILE.write_bytes(target)
        data = tree()
        hits[operation] += killed(operation, RANDOM.uniform(0, 1.2) * max(takes[operation], 0.01))
        check_objects(REPO / ".dvc/cache")
        if REMOTE.exists():
            check_objects(REMOTE)
        check_dvc_file(versions)
        if operation == "checkout":
            for name, content in tree().items():
                allowed = (before.get(name), versions[target].get(name))
                hidden = any(part.startswith(".") for part in pathlib.PurePath(name).parts)
                assert content in allowed or hidden, f"{name} is torn"
        else:
            assert tree() == data, f"{operation} changed data"
        takes[operation] = ours(operation)
        if operation == "checkout":
            assert tree() == versions[target], "a checkout that was repeated is not what was recorded"
        if operation == "add":
            versions[DVC_FILE.read_bytes()] = tree()
        if operation == "push":
            assert check_objects(REPO / ".dvc/cache") >= check_objects(REMOTE)
        if step % DVC_EVERY >= DVC_EVERY - 3:
            assert "up to date" in dvc("status"), "dvc status"
            if operation == "push":
                assert "in sync" in dvc("status", "-c"), "dvc status -c"
    print(f"{KILLS} kills, in the middle of {hits}, {len(versions)} versions: nothing torn, every repeat completed, dvc finds all clean")
    assert min(hits.values()) > 0, "no kill hit some operation in the middle"


main()
