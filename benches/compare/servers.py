"""What the comparisons of servers share: a free port, what a process tree uses, one run of wrk (apt-get install wrk)."""
import json, os, pathlib, re, socket, subprocess, urllib.request


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def of_tree(pid, read):
    """The sum of what `read` says of a process and all its descendants, as far as they live."""
    children = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return read(pid) + sum(of_tree(int(child), read) for child in children)


def processor_seconds(pid):
    def own(pid):
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")

    return of_tree(pid, own)


def resident_mib(pid):
    return of_tree(pid, lambda pid: int(re.search(r"VmRSS:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text()).group(1)) / 1024)


def post(url, body):
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    return json.loads(urllib.request.urlopen(request, timeout=300).read() or "null")


def wrk(script, url, connections, seconds, *arguments):
    """What wrk's script says at its end (summary.lua): requests, failed, seconds, p50_ms, p99_ms, max_ms."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "120s", "--latency", "-s", script, url, "--", *arguments]
    done = subprocess.run([str(part) for part in command], stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.strip().splitlines()[-1])
