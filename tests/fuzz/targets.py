"""Every parser of what others write, as a function of bytes: it raises where something does not hold.

``make fuzz`` looks for such bytes by coverage; the suite tries some hundred of its own (``test_targets.py``).
"""

from __future__ import annotations

import io
import json
import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httptools
import pyarrow
import pyarrow.ipc

from kepler_ebpf import config
from kepler_ebpf.energy.hwmon import HwmonSource
from kepler_ebpf.energy.perf_rapl import PerfRaplSource
from kepler_ebpf.energy.powercap import PowercapSource, inspect_zones
from kepler_ebpf.errors import KeplerError, UsageError
from kepler_ebpf.host.fs import HostFS
from kepler_ebpf.host.hierarchy import Hierarchy, folders_to_name, hierarchies
from kepler_ebpf.host.pids import are_the_kernels
from kepler_ebpf.host.processor import is_virtual, is_x86, read_processor
from kepler_ebpf.host.topology import read_topology
from kepler_ebpf.kernel.btf import Types
from kepler_ebpf.kernel.procfs import ProcessFiles
from kepler_ebpf.recording.unpacking import Unpacking
from kepler_ebpf.state import Unusable, decode
from kepler_ebpf.views.negotiation import FORMATS, best_format
from kepler_ebpf.web.http1 import Dialogue, Request, Response, accepts_gzip, credentials
from kepler_ebpf.web.webfile import WebFile
from kepler_ebpf.workloads.hierarchies import by_processes
from kepler_ebpf.workloads.names.engines import _docker, _podman
from kepler_ebpf.workloads.names.jsonstream import as_dict, elements
from kepler_ebpf.workloads.names.kubelet import _containers
from kepler_ebpf.workloads.names.provider import ProviderError
from kepler_ebpf.workloads.paths import parse
from kepler_ebpf.workloads.qemu import user_of, workload_of
from kepler_ebpf.workloads.text import MAX_NAME
from tests.kernel.test_btf import blob

Target = Callable[[bytes], None]
CONTAINER, POD = b"0123456789abcdef" * 4, b"01234567-89ab-cdef-0123-456789abcdef"


def cgroup_paths(data: bytes) -> None:
    """Names are bounded, a home is part of the path, and nothing below a container changes whose it is."""
    path = "/" + data.decode("utf-8", "surrogateescape").lstrip("/")
    told = parse(path)
    for text in (told.runtime, told.container_id, told.name, told.pod_uid, told.unit, told.outer_id, told.owner):
        assert len(text) <= MAX_NAME + 1
    assert len(told.home) <= len(path)
    first = told.outer or told
    if first.container_id:
        for below in ("/a/b", f"/kubepods/pod{POD.decode()}/{CONTAINER.decode()}", "/x" * 3000):
            deeper = parse(path + below)
            outermost = deeper.outer or deeper
            assert (outermost.container_id, outermost.owner) == (first.container_id, first.owner), below


class _Twice(Exception):
    """A key that an object has twice."""


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) != len(pairs):
        raise _Twice
    return dict(pairs)


def kubelet_answers(data: bytes) -> None:
    """Whatever the chunks, a list comes out as json.loads has it; what is none is a ProviderError."""
    chunk, body = (data[0] % 64 + 1, data[1:]) if data else (1, b"")
    found: list[Any] | None = None
    source = io.BytesIO(body)
    with suppress(ProviderError):
        found = list(elements(lambda _: source.read(chunk), "items"))
        for pod in found:
            for container_id, name in _containers(pod):
                assert len(container_id) <= MAX_NAME
                assert max(map(len, (name.container, name.pod, name.namespace, name.pod_uid))) <= MAX_NAME
                assert 0 <= name.cpu_request <= 1e6
    try:
        whole = json.loads(body.decode("utf-8", "replace"), object_pairs_hook=_once)
    except (ValueError, RecursionError, _Twice):
        return
    if isinstance(whole, dict) and isinstance(whole.get("items"), list):
        assert repr(found) == repr(whole["items"])


def engines_answers(data: bytes) -> None:
    """Names out of docker's and podman's lists."""
    with suppress(ProviderError):
        for container in map(as_dict, elements(io.BytesIO(data).read)):
            for name in (_docker(container), _podman(container)):
                assert max(map(len, (name.container, name.pod, name.namespace, name.pod_uid))) <= MAX_NAME


@lru_cache(maxsize=1)
def _folder() -> Path:
    place = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    return Path(tempfile.mkdtemp(prefix="fuzz-", dir=place))


def _write(files: tuple[str, ...], data: bytes) -> Path:
    """Each file gets its part of the bytes, which are parted by 0xFF; what has none is empty."""
    root = _folder()
    parts = data.split(b"\xff")
    for number, name in enumerate(files):
        path = root / name
        if not path.parent.exists():
            path.parent.mkdir(parents=True)
        path.write_bytes(parts[number] if number < len(parts) else b"")
    return root


_PROC = (
    *("proc/7/stat", "proc/7/cgroup", "proc/7/comm", "proc/7/status", "proc/7/cmdline"),
    *("proc/1/cgroup", "proc/1/mountinfo", "proc/cpuinfo", "proc/2/stat", "proc/1/comm"),
)


def proc_files(data: bytes) -> None:
    """Nothing that stands in /proc raises: processes, mounts, hierarchies, processors, virtual machines."""
    root = _write(_PROC, data)
    fs = HostFS(root / "proc", root / "sys", root)
    told = ProcessFiles(fs).look(7, Hierarchy(root, 4, "memory"))
    assert told is None or len(told.comm) <= 15
    ProcessFiles(fs).look(7, None)
    are_the_kernels(fs)
    candidates = [*hierarchies(fs), Hierarchy(root), Hierarchy(root, 4, "memory")]
    assert (
        "\n" not in by_processes(candidates, [(root / "proc/7/cgroup").read_bytes().decode("utf-8", "replace")]).reason
    )
    folders_to_name(fs)
    read_processor(fs)
    is_virtual(fs)
    is_x86(fs)
    user_of((root / "proc/7/status").read_bytes().decode("utf-8", "replace"))
    workload = workload_of((root / "proc/7/cmdline").read_bytes(), 7)
    assert workload is None or 0 < len(workload.container) <= MAX_NAME


_ZONE, _EVENT, _CHIP = "sys/class/powercap/intel-rapl:0", "sys/bus/event_source/devices/power", "sys/class/hwmon/hwmon0"
_SYS = (
    *(f"{_ZONE}/{name}" for name in ("name", "max_energy_range_uj", "energy_uj", "constraint_0_max_power_uw")),
    *(f"{_EVENT}/{name}" for name in ("type", "cpumask", "events/energy-pkg")),
    *(f"{_EVENT}/events/energy-pkg.{name}" for name in ("scale", "unit")),
    *(f"{_EVENT}/events/energy-psys{name}" for name in ("", ".scale", ".unit")),
    *(f"{_CHIP}/{name}" for name in ("name", "power1_input", "power1_label", "energy1_input", "energy1_label")),
    *(f"sys/devices/system/cpu/{name}" for name in ("possible", "online")),
    *(f"sys/devices/system/cpu/cpu0/topology/{name}" for name in ("physical_package_id", "thread_siblings_list")),
)


def sysfs_files(data: bytes) -> None:
    """Nothing that stands in /sys raises but KeplerError, and no meter counts what it cannot have seen."""
    root = _write(_SYS, data)
    fs = HostFS(root / "proc", root / "sys", root)
    with suppress(KeplerError):
        topology = read_topology(fs)
        assert topology.cpus < 1 << 17
    inspect_zones(fs)
    now = [10**12]

    def clock() -> int:
        now[0] += 10**8
        return now[0]

    def refuse(event_type: int, config: int, cpu: int) -> int:
        raise PermissionError(13, "refused")

    sources = (
        PowercapSource(fs, clock_ns=clock),
        PerfRaplSource(fs, refuse, clock_ns=clock),
        HwmonSource(fs, clock_ns=clock),
    )
    for source in sources:
        for _ in range(3):
            source.read()
        assert ((source.joules >= 0) & (source.joules < 1e5)).all()
        source.close()


def kernel_types(data: bytes) -> None:
    """BTF is understood, or refused by ValueError or KeyError."""
    with suppress(ValueError, KeyError):
        types = Types(data)
        for structure, member in (("outer", "inside"), ("outer", "flag"), ("outer", "absent")):
            with suppress(KeyError):
                assert types.offset(structure, member) >= 0
        with suppress(KeyError):
            types.enumerator("colours", "blue")
        with suppress(KeyError):
            types.typedef("outer")


def web_configuration(data: bytes) -> None:
    """A web configuration is one of the exporter toolkit's, or refused in one line without any secret of it."""
    try:
        WebFile(_folder() / "web.yml", data).security()
    except KeplerError as error:
        assert "\n" not in str(error)
        assert len(str(error)) < 2000


def options(data: bytes) -> None:
    """Every option takes a text, or refuses it in one line that names it."""
    number, text = (data[0], data[1:].decode("utf-8", "surrogateescape")) if data else (0, "")
    option = config.OPTIONS[number % len(config.OPTIONS)]
    try:
        option.value(text, {})
    except UsageError as error:
        assert str(error).startswith(f"--{option.name}: ")
        assert "\n" not in str(error)


def state_file(data: bytes) -> None:
    """The state file is ours, or refused."""
    with suppress(Unusable):
        books = decode(data, "boot")
        assert (books.measured >= 0).all()


def recording_messages(data: bytes) -> None:
    """Lengths in a message of a recording: added up, or refused. The first byte tells where its body begins."""
    middle = 1 + 4 * data[0] if data else 0
    with suppress(ValueError):
        Unpacking().add(SimpleNamespace(metadata=data[1:middle], body=data[middle:]))


def _message() -> bytes:
    batch = pyarrow.record_batch({"a": list(range(99)), "b": [0.0] * 99})
    options = pyarrow.ipc.IpcWriteOptions(compression="zstd")
    with io.BytesIO() as file, pyarrow.ipc.new_stream(file, batch.schema, options=options) as stream:
        stream.write_batch(batch)
        *_, message = pyarrow.ipc.MessageReader.open_stream(file.getvalue())
    metadata = message.metadata.to_pybytes()
    assert len(metadata) % 4 == 0
    return b"".join((bytes([len(metadata) // 4]), metadata, message.body.to_pybytes()))


def request_headers(data: bytes) -> None:
    """Headers that we look into: a format out of four, yes or no, a name and a password."""
    text = data.decode("latin-1")
    assert best_format(text) in FORMATS
    assert accepts_gzip(text) in (True, False)
    name, password = credentials(text)
    assert isinstance(name, str)
    assert isinstance(password, bytes)


class _Second:
    """llhttp, node's parser: the requests it finds, as long as it is content."""

    def __init__(self, data: bytes) -> None:
        self.requests: list[tuple[str, str]] = []
        self._url = b""
        self._parser = httptools.HttpRequestParser(self)
        with suppress(httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._parser.feed_data(data)

    def on_message_begin(self) -> None:
        self._url = b""

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_headers_complete(self) -> None:
        path = self._url.partition(b"#")[0].partition(b"?")[0]
        method: bytes = self._parser.get_method()
        self.requests.append((method.decode(), path.decode("latin-1")))


def requests(data: bytes) -> None:
    """Requests on one connection: where llhttp and we both go on, we have found the same requests."""
    size, data = (data[0] * 8 + 1, data[1:]) if data else (1, data)
    dialogue, found = Dialogue(), []
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    for piece in pieces:
        if not dialogue.open:
            break
        dialogue.receive(piece)
        while dialogue.open and (request := dialogue.request()) is not None:
            if isinstance(request, Request):
                found.append((request.method, request.path))
                assert all(name == name.lower() for name in request.headers)
                assert not any(mark in value for value in request.headers.values() for mark in "\r\n\0")
            head, _ = dialogue.respond(request if isinstance(request, Response) else Response(200, b"ok\n"))
            assert head.startswith(b"HTTP/1.1 ")
            assert head.endswith(b"\r\n\r\n")
    for ours, theirs in zip(found, _Second(data).requests):
        assert ours == theirs


_PROC_SEED = (
    b"7 (a b) S 1 7 7 0 -1 4194304 1 0 0 0 1 2 0 0 20 0 1 0 12345 1 1\xff4:memory:/docker/" + CONTAINER,
    b"\xffsh\nUid:\t0\t0\t0\t0\xffUid:\t1000\t0\xffqemu-system-x86_64\0-name\0guest=web,,x,debug\0\xff4:memory:/\n",
    b"\xff30 24 0:27 / /sys/fs/cgroup\\040x rw - cgroup2 none rw,memory\n\xffvendor_id\t: AuthenticAMD\n",
    b"cpu family: 25\nflags : hypervisor\n\xff2 (kthreadd) S 0 0 0 0 -1 2129984\xffinit",
)
SEEDS: dict[str, tuple[bytes, ...]] = {
    "cgroup_paths": (
        b"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod"
        + POD.replace(b"-", b"_")
        + b".slice/cri-containerd-"
        + CONTAINER
        + b".scope",
        b"/kubepods/besteffort/pod" + POD + b"/" + CONTAINER,
        b"/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-" + CONTAINER + b".scope/container",
        b"/machine.slice/machine-qemu\\x2d1\\x2dweb.scope/libvirt",
        b"/lxc.payload.web/system.slice/docker-" + CONTAINER + b".scope",
        b"/kata_overhead/kata_" + CONTAINER,
    ),
    "kubelet_answers": (
        b'\x05{"kind":"PodList","items":[{"metadata":{"name":"a","uid":"u","annotations":{}},"spec":{"containers":[{"name":'
        b'"c","resources":{"requests":{"cpu":"500m"}}}]},"status":{"containerStatuses":[{"name":"c","containerID":'
        b'"containerd://1","lastState":{"terminated":{"containerID":"x://2"}}}]}}, 1.5e3, null, "\\u00e9\\\\"]}',
        b'\x00{"a":[1,{"b":2}],"items":null}',
        b'\x3f{"items":[]}',
    ),
    "engines_answers": (b'[{"Id":"1","Names":["/a/b","/c"],"Labels":{"io.kubernetes.pod.name":"p"},"Pod":"x"}]',),
    "proc_files": (b"".join(_PROC_SEED),),
    "sysfs_files": (
        b"package-0\xff262143328850\xff123456\xff125000000\xff21\xff0\xffevent=0x02\xff2.3e-10\xffJoules\xffevent=0x05\xff1e-6\xffJoules\xffsmpro\xff5000000"
        b"\xffCPU power\xff77\xffCPU energy\xff0-3,8\xff0-3\xff0\xff0-1",
    ),
    "kernel_types": (blob(),),
    "web_configuration": (
        b"tls_server_config:\n  cert_file: a.pem\n  key_file: b.pem\n  min_version: TLS13\n",
        b"basic_auth_users:\n  alice: $2y$04$" + b"a" * 53 + b"\n",
    ),
    "options": (b"\x001m30s", b"\x06all", b"\x10chip/label=package,x/y=dram", b"\x0e95.5", b"\x01/proc", b"\x12on"),
    "state_file": (
        b'{"format":1,"boot":"boot","source":"rapl-powercap","measured":[3,0,0],"idle":[1,0,0],"unattributed":[0,0,0],'
        b'"charged":{"process":[2,0,0,1,1],"container":[2,0,0,1,1,1,1]},"zones":{"package/0":[5,6,7,3.0,null]}}',
    ),
    "recording_messages": (_message(),),
    "request_headers": (
        b"application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1",
        b"gzip;q=0.0, deflate",
        b"Basic YTpi",
    ),
    "requests": (
        b"\x00GET /metrics?a=b#c HTTP/1.1\r\nHost: a\r\nAccept: */*\r\n\r\nHEAD / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"\xffPOST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhelloGET / HTTP/1.1\r\nHost: b\r\n\r\n",
        b"\x03GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n0\r\n\r\n",
        b"\x03GET / HTTP/1.0\r\nConnection: keep-alive\r\n X: folded\r\n\r\n",
    ),
}
TARGETS: dict[str, Target] = {
    one.__name__: one
    for one in (
        cgroup_paths,
        kubelet_answers,
        engines_answers,
        proc_files,
        sysfs_files,
        kernel_types,
        web_configuration,
        options,
        state_file,
        recording_messages,
        request_headers,
        requests,
    )
}
