"Kinetics from a server that drops, lies and changes its mind, and archives that mean harm: right files or one clear sentence, and nothing outside the folder."
import csv, errno, gzip, io, json, os, signal, subprocess, sys, tarfile, threading, time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import httpx2
import pytest

from vidcls import download
from vidcls.clips import VidclsError
from vidcls.download import DamagedArchive, DiskFull, download_kinetics, fetch, unpack
from vidcls.index import find_videos

CLASSES = ("archery", "petting animal (not cat)", "massaging person's head")


class Handler(BaseHTTPRequestHandler):
    "Serves `site.files`; `site.moods[path]` is called first, and may answer itself (True) or change how the answer is made (a dict)."
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        site, path, span = self.server.site, self.path, self.headers.get("Range")
        with site.lock: site.log.append((path, span)); site.tags.append(self.headers.get("If-Range")); count = site.asked[path] = site.asked[path] + 1
        how = site.moods[path](self, count) if path in site.moods else {}
        if how is True: return
        body = site.files.get(path)
        if body is None: return self.say(404)
        etag = site.etags.get(path, '"1"')
        start = 0
        if span and how.get("ranges", True) and (self.headers.get("If-Range") in (None, etag) or how.get("ignore_if_range")): start = int(span[6:-1])
        if start and start >= len(body): return self.say(416)
        self.send_response(206 if start else 200)
        if start: self.send_header("Content-Range", how.get("content_range") or f"bytes {start}-{len(body) - 1}/{len(body)}")
        if how.get("etag", True): self.send_header("ETag", etag)
        if how.get("length", True): self.send_header("Content-Length", str(len(body) - start + how.get("longer", 0)))
        if how.get("drop") or how.get("longer") or not how.get("length", True): self.send_header("Connection", "close"); self.close_connection = True
        self.end_headers()
        part = body[start:start + how.get("drop", len(body))]
        for i in range(0, len(part), 4096):
            try: self.wfile.write(part[i:i + 4096])
            except OSError: self.close_connection = True; return  # the other side was killed
            if how.get("slow"): time.sleep(how["slow"])

    def say(self, code, **headers):
        self.send_response(code)
        for k, v in headers.items(): self.send_header(k.replace("_", "-"), v)
        self.send_header("Content-Length", "0"); self.end_headers()
        return True

    def log_message(self, *args): pass


@pytest.fixture
def site(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(download, "BACKOFF", 0.002)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    site = server.site = SimpleNamespace(files={}, moods={}, etags={}, log=[], tags=[], asked=Counter(), lock=threading.Lock(), url=f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs=dict(poll_interval=0.01), daemon=True); thread.start()
    yield site
    server.shutdown(); server.server_close()

@pytest.fixture
def client():
    with httpx2.Client(trust_env=False, timeout=5, follow_redirects=True) as client: yield client


def tar(*members, mode="w:gz"):
    "A tar in memory: (name, bytes), or a ready TarInfo with its bytes."
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as t:
        for name, data in members:
            info = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            if not isinstance(name, tarfile.TarInfo): info.size = len(data)
            t.addfile(info, io.BytesIO(data))
    return out.getvalue()

def odd(name, type=tarfile.REGTYPE, size=0, target=""):
    info = tarfile.TarInfo(name); info.type, info.size, info.linkname = type, size, target
    return info

def video(i): return f"vid{i:08d}_000010_000020.mp4"

def content(i): return bytes([i % 251]) * 500 + os.urandom(4000)

def kinetics(site, split="val", parts=3, each=4, version="400", subfolder="val/", mode="w:gz", ending=".tar.gz"):
    "A small Kinetics on the server: {path in the split: bytes}."
    folder = download.VERSIONS[version]
    n, expected, rows, lines = 0, {}, [], []
    for part in range(parts):
        members = []
        for _ in range(each):
            label, data = CLASSES[n % 3], content(n)
            members.append((f"{subfolder}{video(n)}", data))
            rows.append((label, video(n)[:11], 10, 20, split))
            expected[f"{download.class_folder(label)}/{video(n)}"] = data
            n += 1
        site.files[f"/{folder}/{split}/part_{part}{ending}"] = tar(*members, mode=mode)
        lines.append(f"{download.BASE_URL}/{folder}/{split}/part_{part}{ending}")
    site.files[f"/{folder}/{split}/k{folder}_{split}_path.txt"] = "\r\n".join(lines + ["", "  "]).encode()
    text = io.StringIO(); csv.writer(text).writerows([("label", "youtube_id", "time_start", "time_end", "split"), *rows])
    site.files[f"/{folder}/annotations/{split}.csv"] = text.getvalue().encode()
    return expected

PART = "/400/val/part_{}.tar.gz".format

def get(site, out, **kw): return download_kinetics(out, kw.pop("version", "400"), kw.pop("split", "val"), base_url=site.url, progress=False, **kw)

def files(folder): return {p.relative_to(folder).as_posix(): p.read_bytes() for p in Path(folder).rglob("*") if p.is_file()}

def leftovers(out, split="val"): return {p.name for p in (out / ".download" / split).iterdir()} - {"archives.txt", "annotations.csv", "done", "lock"}


# ---- one file

@pytest.mark.parametrize("size", [0, 1, 4096, 300_000])
def test_whole_file(site, client, tmp_path, size):
    site.files["/x"] = os.urandom(size)
    assert fetch(client, site.url + "/x", tmp_path / "x").read_bytes() == site.files["/x"]
    assert os.listdir(tmp_path) == ["x"]

def test_dropped_connections_go_on_by_range(site, client, tmp_path):
    site.files["/x"] = os.urandom(100_000)
    site.moods["/x"] = lambda h, n: dict(drop=9_000)  # more drops than TRIES: progress starts the count afresh
    fetch(client, site.url + "/x", tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == site.files["/x"]
    assert [span for _, span in site.log] == [None] + [f"bytes={n}-" for n in range(9_000, 100_000, 9_000)]

def test_a_later_run_goes_on(site, client, tmp_path):
    site.files["/x"] = os.urandom(50_000)
    site.moods["/x"] = lambda h, n: dict(drop=30_000) if n == 1 else h.say(503)
    with pytest.raises(VidclsError, match="503 .*times in a row; run the same command again"): fetch(client, site.url + "/x", tmp_path / "x")
    assert len(site.log) == download.TRIES and not (tmp_path / "x").exists()
    site.moods.clear(); site.log.clear()
    fetch(client, site.url + "/x", tmp_path / "x")
    assert site.log == [("/x", "bytes=30000-")] and (tmp_path / "x").read_bytes() == site.files["/x"]

@pytest.mark.parametrize("how", [dict(), dict(ignore_if_range=True)])
def test_a_file_that_changed_starts_anew(site, client, tmp_path, how):
    site.files["/x"], site.etags["/x"] = b"a" * 50_000, '"old"'
    def mood(h, n):
        if n == 2: site.files["/x"], site.etags["/x"] = b"b" * 50_000, '"new"'  # as long as before: only the tag tells
        return dict(drop=20_000) if n == 1 else how
    site.moods["/x"] = mood
    assert fetch(client, site.url + "/x", tmp_path / "x").read_bytes() == b"b" * 50_000

@pytest.mark.parametrize("how", [dict(ranges=False), dict(content_range="bytes 0-49999/50000"), dict(content_range="bytes 20000-49999/60000"), dict(content_range="nonsense")])
def test_range_ignored_or_wrong(site, client, tmp_path, how):
    site.files["/x"] = os.urandom(50_000)
    site.moods["/x"] = lambda h, n: dict(drop=20_000) if n == 1 else how
    assert fetch(client, site.url + "/x", tmp_path / "x").read_bytes() == site.files["/x"]
    assert site.log[1] == ("/x", "bytes=20000-") and site.tags == [None, '"1"', None][:len(site.log)]  # the condition goes with the range
    assert len(site.log) == (3 if "content_range" in how else 2)  # an answer that fits not is thrown away, and all is asked for

def test_416_starts_anew(site, client, tmp_path):
    site.files["/x"] = b"long " * 10_000
    def mood(h, n):
        if n == 2: site.files["/x"] = b"short"
        return dict(drop=20_000) if n == 1 else {}
    site.moods["/x"] = mood
    assert fetch(client, site.url + "/x", tmp_path / "x").read_bytes() == b"short"

@pytest.mark.parametrize("how", [dict(etag=False), dict(length=False)])
def test_without_tag_or_length_nothing_is_resumed(site, client, tmp_path, how):
    site.files["/x"] = os.urandom(50_000)
    site.moods["/x"] = lambda h, n: h.say(503) if n == 2 else how | (dict(drop=20_000) if n == 1 and "etag" in how else {})
    assert fetch(client, site.url + "/x", tmp_path / "x").read_bytes() == site.files["/x"]
    assert all(span is None for _, span in site.log)

def test_a_length_that_is_never_reached_gives_up(site, client, tmp_path):
    site.files["/x"] = os.urandom(5_000)
    site.moods["/x"] = lambda h, n: dict(longer=100)
    with pytest.raises(VidclsError, match="times in a row"): fetch(client, site.url + "/x", tmp_path / "x")
    assert len(site.log) <= 3 * download.TRIES and not (tmp_path / "x").exists()

def test_always_changing_file_gives_up(site, client, tmp_path):
    site.files["/x"] = os.urandom(50_000)
    def mood(h, n): site.etags["/x"] = f'"{n}"'; return dict(drop=20_000 + n)
    site.moods["/x"] = mood
    with pytest.raises(VidclsError, match="times in a row"): fetch(client, site.url + "/x", tmp_path / "x")

def test_retry_after_and_back_off(site, client, tmp_path, monkeypatch):
    site.files["/x"], pauses = b"x", []
    monkeypatch.setattr(download, "BACKOFF", 8.)
    site.moods["/x"] = lambda h, n: {1: lambda: h.say(429, Retry_After="77"), 2: lambda: h.say(503), 3: lambda: h.say(500), 4: lambda: h.say(503, Retry_After="99999")}.get(n, dict)()
    fetch(client, site.url + "/x", tmp_path / "x", stop=SimpleNamespace(is_set=lambda: False, wait=pauses.append))
    assert pauses[0] == 77 and 8 <= pauses[1] <= 16 and 16 <= pauses[2] <= 32 and pauses[3] == download.PATIENCE

def test_retry_after_as_a_date():
    answer = lambda v: SimpleNamespace(headers={"Retry-After": v})
    assert 3000 < download._retry_after(answer(time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 3600)))) <= 3600
    assert download._retry_after(answer("soon")) == 0

@pytest.mark.parametrize("code", [403, 404, 410])
def test_no_second_attempt_where_it_is_hopeless(site, client, tmp_path, code):
    site.moods["/x"] = lambda h, n: h.say(code)
    with pytest.raises(VidclsError, match=f"answers {code} .*check version, split and base address"): fetch(client, site.url + "/x", tmp_path / "x")
    assert len(site.log) == 1

def test_silence_counts_as_a_lost_connection(site, tmp_path):
    site.files["/x"] = os.urandom(50_000)
    site.moods["/x"] = lambda h, n: dict(slow=1) if n == 1 else {}
    with httpx2.Client(trust_env=False, timeout=0.2) as hasty: fetch(hasty, site.url + "/x", tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == site.files["/x"] and site.log[1:] == [("/x", "bytes=4096-")]

def test_redirects_keep_the_range(site, client, tmp_path):
    site.files["/y"] = os.urandom(50_000)
    site.moods["/x"] = lambda h, n: h.say(302, Location="/y")
    site.moods["/y"] = lambda h, n: dict(drop=20_000) if n == 1 else {}
    fetch(client, site.url + "/x", tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == site.files["/y"] and site.log[-1] == ("/y", "bytes=20000-")

def test_nobody_listens(client, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "BACKOFF", 0.001)
    with pytest.raises(VidclsError, match="the connection failed"): fetch(client, "http://127.0.0.1:9/x", tmp_path / "x")
    for url in ("http://[/x", "nonsense:/x"):
        with pytest.raises(VidclsError): fetch(client, url, tmp_path / "x")

def test_size_limit(site, client, tmp_path):
    site.files["/x"] = bytes(200_000)
    for how in ({}, dict(length=False)):
        site.moods["/x"] = lambda h, n: how
        with pytest.raises(VidclsError, match="larger than"): fetch(client, site.url + "/x", tmp_path / "x", limit=100_000)
        assert sum(p.stat().st_size for p in tmp_path.iterdir()) <= 101_000


# ---- one archive

HOSTILE = {
    "../../evil.mp4": (odd("../../evil.mp4", size=4), "leaves the folder"),
    "absolute": (odd("/tmp/vidcls_evil.mp4", size=4), "leaves the folder"),
    "folder": (odd("../up", tarfile.DIRTYPE), "leaves the folder"),
    "symlink": (odd("link.mp4", tarfile.SYMTYPE, target="/etc"), "a link"),
    "hardlink": (odd("hard.mp4", tarfile.LNKTYPE, target="/etc/passwd"), "a link"),
    "character device": (odd("null.mp4", tarfile.CHRTYPE), "no plain file"),
    "block device": (odd("sda.mp4", tarfile.BLKTYPE), "no plain file"),
    "pipe": (odd("pipe.mp4", tarfile.FIFOTYPE), "no plain file"),
    "script": (odd("run.sh", size=4), "not called like a video"),
    "hidden": (odd("x/._a.mp4", size=4), "not called like a video"),
    "backslashes": (odd("..\\..\\evil.mp4", size=4), "not called like a video"),
    "line break": (odd("a\nb.mp4", size=4), "not called like a video"),
    "not utf-8": (odd("\udcff.mp4", size=4), "not called like a video"),
}

@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_members(tmp_path, case):
    info, why = HOSTILE[case]
    (tmp_path / "in").mkdir(); (tmp_path / "in/x.tar.gz").write_bytes(tar((video(1), b"one"), (info, b"evil"), (video(2), b"two")))
    names, refused = unpack(tmp_path / "in/x.tar.gz", tmp_path / "in/raw")
    assert names == [video(1), video(2)] and len(refused) == 1 and why in refused[0][1]
    json.dumps(refused).encode("utf-8")
    assert files(tmp_path) == {"in/x.tar.gz": (tmp_path / "in/x.tar.gz").read_bytes(), f"in/raw/{video(1)}": b"one", f"in/raw/{video(2)}": b"two"}
    assert not Path("/tmp/vidcls_evil.mp4").exists() and not any(p.is_symlink() for p in tmp_path.rglob("*"))

def test_a_link_to_write_through(tmp_path):
    "A link, then a file of its name: the classic way out."
    (tmp_path / "x.tar").write_bytes(tar((odd(video(1), tarfile.SYMTYPE, target=str(tmp_path / "outside.mp4")), b""), (video(1), b"evil"), mode="w"))
    assert unpack(tmp_path / "x.tar", tmp_path / "raw")[0] == [video(1)]
    assert not (tmp_path / "outside.mp4").exists() and not (tmp_path / "raw" / video(1)).is_symlink()

def test_duplicates_keep_the_first(tmp_path):
    (tmp_path / "x.tar").write_bytes(tar((f"a/{video(1)}", b"first"), (f"b/{video(1)}", b"second"), mode="w"))
    names, refused = unpack(tmp_path / "x.tar", tmp_path / "raw")
    assert (names, refused) == ([video(1)], [(f"b/{video(1)}", "it is there twice")]) and (tmp_path / "raw" / video(1)).read_bytes() == b"first"

WHOLE = tar((video(1), os.urandom(9_000)), (video(2), os.urandom(9_000)))
PLAIN = tar((video(1), b"a" * 1024), (video(2), b"b" * 1024), mode="w")
DAMAGED = {
    "text": b"<html>gone</html>", "empty": b"", "zeros": bytes(10_240), "gzip of text": gzip.compress(b"hello" * 100), "gzip header alone": WHOLE[:10],
    "cut in a video": WHOLE[:7_000], "cut before the checksum": WHOLE[:-8], "wrong checksum": WHOLE[:-8] + b"12345678", "a bit flipped": WHOLE[:5_000] + bytes([WHOLE[5_000] ^ 1]) + WHOLE[5_001:],
    "plain, cut in a video": PLAIN[:1_000], "plain, cut in a header": PLAIN[:1_700], "plain, garbage for a header": PLAIN[:1_536] + b"x" * 512 + PLAIN[2_048:],
    "no videos": tar(("readme.txt", b"hi")), "nothing": tar(),
    "negative size": tar((odd("a.mp4"), b""), mode="w").replace(b"00000000000\x00", b"-0000000777\x00", 1),
}

@pytest.mark.parametrize("case", DAMAGED)
def test_damaged_archives(tmp_path, case):
    (tmp_path / "x.tar.gz").write_bytes(DAMAGED[case])
    with pytest.raises(DamagedArchive, match="ends in the middle of vid" if "in a video" in case and "plain" in case else "this is not a whole archive: .|this archive holds no video"): unpack(tmp_path / "x.tar.gz", tmp_path / "raw")

def test_bounded_sizes(tmp_path, monkeypatch):
    file = tmp_path / "x.tar.gz"
    huge = odd("huge.mp4", size=1 << 40).tobuf()  # declares a terabyte, holds nothing
    file.write_bytes(gzip.compress(huge))
    with pytest.raises(DamagedArchive): unpack(file, tmp_path / "raw")
    assert not (tmp_path / "raw/huge.mp4").exists()
    monkeypatch.setattr(download, "VIDEO_LIMIT", 100)
    file.write_bytes(tar((video(1), b"1"), (video(2), b"2" * 101)))
    assert unpack(file, tmp_path / "raw") == ([video(1)], [(video(2), "it is larger than 0.0 MB")])
    monkeypatch.setattr(download, "MEMBER_LIMIT", 3)
    file.write_bytes(tar(*[(video(i), b"") for i in range(4)]))
    with pytest.raises(DamagedArchive, match="more than 3 members"): unpack(file, tmp_path / "raw")

def test_bombs(tmp_path):
    "A small file that unpacks to ever more bytes, and a header that would fill the memory."
    reader = download._Reader(io.BytesIO(bytes(5_000)), 4_096)
    with pytest.raises(tarfile.ReadError, match="unpacks to more"): reader.seek(5_000)
    long_name = odd("././@LongLink", tarfile.GNUTYPE_LONGNAME, size=64 << 20).tobuf()
    (tmp_path / "x.tar.gz").write_bytes(gzip.compress(long_name + bytes(64 << 20), 1))
    with pytest.raises(DamagedArchive, match="a header of 67,108,864 bytes"): unpack(tmp_path / "x.tar.gz", tmp_path / "raw")
    chain = odd("././@LongLink", tarfile.GNUTYPE_LONGNAME, size=0).tobuf()
    (tmp_path / "x.tar").write_bytes(chain * 5_000)
    with pytest.raises(DamagedArchive): unpack(tmp_path / "x.tar", tmp_path / "raw")

@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_formats_of_tar(tmp_path, format):
    with tarfile.open(tmp_path / "x.tar", "w", format=format) as t:
        (tmp_path / video(1)).write_bytes(b"v" * 1_500)
        t.add(tmp_path / video(1), "/".join(["a folder with a long name"] * (3 if format == tarfile.USTAR_FORMAT else 12)) + "/" + video(1))
    assert unpack(tmp_path / "x.tar", tmp_path / "raw") == ([video(1)], []) and (tmp_path / "raw" / video(1)).stat().st_size == 1_500


# ---- all of it

@pytest.mark.parametrize("version, split, ending, mode, subfolder", [("400", "val", ".tar.gz", "w:gz", "val/"), ("600", "train", ".tar", "w", "./a/b/"), ("700", "val", ".tgz", "w:gz", "")])
def test_a_split_becomes_a_data_set(site, tmp_path, version, split, ending, mode, subfolder):
    expected = kinetics(site, split, version=version, ending=ending, mode=mode, subfolder=subfolder)
    report = get(site, tmp_path / "k", version=version, split=split)
    assert files(tmp_path / "k" / split) == expected and not leftovers(tmp_path / "k", split)
    assert (report.videos, report.missing, report.extra, report.failed, report.refused) == (12, [], [], [], [])
    assert report.fetched == sum(map(len, site.files.values()))
    assert find_videos(tmp_path / "k") == {split: sorted((f"{split}/{p}", p.split("/")[0]) for p in expected)}
    report.raise_for_failures()
    site.log.clear()
    assert get(site, tmp_path / "k", version=version, split=split).videos == 12 and site.log == []

def test_folders_are_torchvisions(site, tmp_path):
    kinetics_class = pytest.importorskip("torchvision.datasets.kinetics").Kinetics
    expected = kinetics(site, parts=1, each=3)
    (tmp_path / "t/val").mkdir(parents=True); (tmp_path / "t/annotations").mkdir()
    for path, data in expected.items(): (tmp_path / "t/val" / Path(path).name).write_bytes(data)
    (tmp_path / "t/annotations/val.csv").write_bytes(site.files["/400/annotations/val.csv"])
    theirs = SimpleNamespace(root=tmp_path / "t", split="val", split_folder=tmp_path / "t/val", _ANNOTATION_URLS=kinetics_class._ANNOTATION_URLS, num_classes="400")
    kinetics_class._make_ds_structure(theirs)
    get(site, tmp_path / "k")
    assert files(tmp_path / "k/val") == files(tmp_path / "t/val") == expected
    for version, (lists, notes) in {v: (kinetics_class._TAR_URLS[v], kinetics_class._ANNOTATION_URLS[v]) for v in download.VERSIONS}.items():
        for split in ("train", "val", "test"): assert download.kinetics_urls(version, split) == (lists.format(split=split), notes.format(split=split))

def test_missing_extra_and_unlabelled(site, tmp_path):
    kinetics(site, parts=1)
    site.files[PART(0)] = tar((video(0), b"0"), (video(77), b"77"), ("../" + video(1), b"evil"))
    site.files["/400/annotations/val.csv"] += b'"playing ""air"" guitar , well",abcdefghijk,soon,3,val\r\n'
    report = get(site, tmp_path / "k")
    assert report.videos == 1 and [p for p, _ in report.missing] == sorted(f"{download.class_folder(CLASSES[i % 3])}/{video(i)}" for i in (1, 2, 3)) and report.extra == [video(77)]
    assert report.refused == [("part_0.tar.gz", "../" + video(1), "its path leaves the folder")] and "line 6" in report.problems[0]
    assert (tmp_path / "k/val-extra.csv").read_text().split() == ["path", video(77)]
    assert [row["path"] for row in csv.DictReader(open(tmp_path / "k/val-missing.csv"))] == [p for p, _ in report.missing]
    assert "missing 3" in report.summary() and "refused part_0.tar.gz" in report.summary() and repr(report).startswith("DownloadReport(Kinetics-400 val: 1 of 4")
    site.files |= {"/600/test/k600_test_path.txt": b"x.tar.gz", "/600/test/x.tar.gz": tar((video(5), b"5")), "/600/annotations/test.csv": b"youtube_id,time_start,time_end,split\nvid00000005,10,20,test\n"}
    report = get(site, tmp_path / "t", version="600", split="test")
    assert (report.videos, report.extra) == (1, []) and files(tmp_path / "t/test") == {video(5): b"5"}

def test_hostile_labels_stay_inside(site, tmp_path):
    site.files |= {"/400/val/k400_val_path.txt": b"x.tar", "/400/val/x.tar": tar(*[(video(i), b"v") for i in range(5)], mode="w")}
    labels = ["../../evil", "/etc", "..", "it's \"quoted\"", " dance (a b) "]
    text = io.StringIO(); csv.writer(text).writerows([("label", "youtube_id", "time_start", "time_end"), *[(label, video(i)[:11], 10, 20) for i, label in enumerate(labels)]])
    site.files["/400/annotations/val.csv"] = text.getvalue().encode()
    get(site, tmp_path / "a/k")
    assert {p.split("/")[0] for p in files(tmp_path / "a/k/val")} == {"_.._.._evil", "_etc", "_..", 'its_"quoted"', "dance_a_b"} and os.listdir(tmp_path / "a") == ["k"] and os.listdir(tmp_path) == ["a"]

@pytest.mark.parametrize("bad, calls", [(b"<html>moved</html>", 2), (None, 1), (WHOLE[:-4], 2)])
def test_one_bad_archive_does_not_stop_the_rest(site, tmp_path, bad, calls, capsys):
    expected = kinetics(site)
    good, site.files[PART(1)] = site.files[PART(1)], bad
    report = get(site, tmp_path / "k", parallel=2)
    assert report.videos == 8 and [name for name, _ in report.failed] == ["part_1.tar.gz"] and site.asked[PART(1)] == calls
    assert len(capsys.readouterr().err.splitlines()) == 1 and len(report.missing) == 4 and not leftovers(tmp_path / "k")
    with pytest.raises(VidclsError, match="1 of 3 archives of Kinetics-400 val failed, for example part_1.tar.gz: .*; run the same command again"): report.raise_for_failures()
    site.files[PART(1)] = good; site.log.clear()
    assert get(site, tmp_path / "k").missing == [] and files(tmp_path / "k/val") == expected and site.log == [(PART(1), None)]

def test_damaged_once_is_fetched_anew(site, tmp_path):
    expected = kinetics(site)
    good = site.files[PART(1)]
    def mood(h, n): site.files[PART(1)] = good[:3_000] if n == 1 else good; return {}
    site.moods[PART(1)] = mood
    report = get(site, tmp_path / "k")
    assert not report.failed and files(tmp_path / "k/val") == expected and site.asked[PART(1)] == 2

def test_everything_goes_wrong_a_little(site, tmp_path):
    expected = kinetics(site, parts=4)
    for path in site.files: site.moods[path] = lambda h, n: h.say(503) if n == 1 else dict(drop=6_000)
    assert get(site, tmp_path / "k", parallel=3).failed == [] and files(tmp_path / "k/val") == expected
    assert any(span for path, span in site.log if path.endswith(".gz"))

def test_lists_that_are_something_else(site, tmp_path):
    kinetics(site)
    notes, site.files["/400/annotations/val.csv"] = site.files["/400/annotations/val.csv"], b"<html>log in</html>"
    with pytest.raises(VidclsError, match="annotations/val.csv: these are not annotations"): get(site, tmp_path / "k")
    lines, site.files["/400/val/k400_val_path.txt"] = site.files["/400/val/k400_val_path.txt"], b"<html>log in</html>"
    with pytest.raises(VidclsError, match="not a list of archives"): get(site, tmp_path / "j")
    with pytest.raises(VidclsError, match="404 Not Found"): get(site, tmp_path / "i", split="train")
    site.files |= {"/400/annotations/val.csv": notes, "/400/val/k400_val_path.txt": lines}
    for folder in "kj": assert get(site, tmp_path / folder).videos == 12

def test_refusals(site, tmp_path):
    kinetics(site, parts=1)
    for kw, words in ((dict(version="401"), "out of 400, 600, 700"), (dict(split="dev"), "train, val, test"), (dict(parallel=0), "at least 1")):
        with pytest.raises(VidclsError, match=words): get(site, tmp_path / "k", **kw)
    assert not (tmp_path / "k").exists()
    get(site, tmp_path / "k")
    with pytest.raises(VidclsError, match="holds Kinetics-400 as it is, and can't take Kinetics-600 as it is"): get(site, tmp_path / "k", version="600")
    with pytest.raises(VidclsError, match="can't take Kinetics-400 prepared"): get(site, tmp_path / "k", transcode=lambda pairs: [])
    (tmp_path / "file").touch()
    with pytest.raises(VidclsError, match="can't write .*file.*; mend that"): get(site, tmp_path / "file")
    with download._alone(tmp_path / "k/.download/val"), pytest.raises(VidclsError, match="another run is downloading"): get(site, tmp_path / "k")

def test_keep_archives(site, tmp_path):
    kinetics(site)
    get(site, tmp_path / "k", keep_archives=True)
    assert {n: (tmp_path / "k/.download/val" / n).read_bytes() for n in leftovers(tmp_path / "k")} == {Path(p).name: d for p, d in site.files.items() if p.endswith(".gz")}
    get(site, tmp_path / "k", keep_archives=True); assert len(leftovers(tmp_path / "k")) == 3
    get(site, tmp_path / "k"); assert not leftovers(tmp_path / "k")


# ---- the disk

def test_no_room_is_said_before_the_archive_comes(site, tmp_path, monkeypatch):
    expected = kinetics(site)
    free = 2 * len(site.files[PART(0)]) - 1  # an archive and its videos do not fit
    monkeypatch.setattr(download.shutil, "disk_usage", lambda folder: SimpleNamespace(free=free))
    with pytest.raises(DiskFull, match="need 0.0 MB in .*, where 0.0 MB are free; make room, or use a smaller --parallel, and run the same command again"): get(site, tmp_path / "k", parallel=1)
    assert files(tmp_path / "k/val") == {} and site.asked[PART(0)] == 1 and leftovers(tmp_path / "k") == {"part_0.tar.gz.part.json"}  # not a byte of it
    monkeypatch.undo(); monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    assert get(site, tmp_path / "k").videos == 12 and files(tmp_path / "k/val") == expected

def test_archives_share_the_room(site, tmp_path, monkeypatch):
    room = download._Room(tmp_path)
    monkeypatch.setattr(download.shutil, "disk_usage", lambda folder: SimpleNamespace(free=100))
    room.need("a", 60)
    with pytest.raises(DiskFull): room.need("b", 60)
    room.need("a", 10); room.need("b", 60)

@pytest.mark.parametrize("where", ["part_1.tar.gz.part", video(5)])
def test_disk_full_midway(site, tmp_path, monkeypatch, where):
    expected = kinetics(site, each=8)
    def opened(file, mode="r", *args, **kw):
        f = open(file, mode, *args, **kw)
        if Path(file).name == where and mode in ("ab", "wb"):
            write = f.write
            def full(data): write(data[:100]); raise OSError(errno.ENOSPC, "No space left on device")
            return _Full(f, full)
        return f
    monkeypatch.setattr(download, "open", opened, raising=False)
    with pytest.raises(DiskFull, match="is full; make room and run the same command again"): get(site, tmp_path / "k", parallel=1)
    done = set(files(tmp_path / "k/val")); assert len(done) == (8 if "part" in where else 0) and all(files(tmp_path / "k/val")[p] == expected[p] for p in done)
    monkeypatch.undo(); monkeypatch.setenv("NO_PROXY", "127.0.0.1"); site.log.clear()
    assert get(site, tmp_path / "k").failed == [] and files(tmp_path / "k/val") == expected
    assert (PART(1), "bytes=100-") in site.log if "part" in where else PART(0) not in dict(site.log)  # what was there is used

class _Full:
    def __init__(self, f, write): self.f, self.write = f, write
    def __enter__(self): return self
    def __exit__(self, *args): self.f.close()

def test_a_class_that_can_not_be_written(site, tmp_path, capsys):
    "One archive has a video for it: that archive stays on the disk, all other videos are placed."
    expected = kinetics(site, parts=2, each=2)
    (tmp_path / "k/val").mkdir(parents=True); (tmp_path / "k/val/massaging_persons_head").touch()
    report = get(site, tmp_path / "k")
    assert report.videos == 3 and [name for name, _ in report.failed] == ["part_1.tar.gz"] and "can't write into" in report.failed[0][1]
    (tmp_path / "k/val/massaging_persons_head").unlink(); site.log.clear()
    assert get(site, tmp_path / "k").videos == 4 and files(tmp_path / "k/val") == expected and site.log == []

def test_permission_denied(site, tmp_path, monkeypatch):
    kinetics(site, parts=1, each=3)
    access = os.access
    monkeypatch.setattr(download.os, "access", lambda path, mode: Path(path).name != "archery" and access(path, mode))
    report = get(site, tmp_path / "k")
    assert report.videos == 2 and report.failed[0][1].endswith("archery: Permission denied") and "part_0.tar.gz" in leftovers(tmp_path / "k")


# ---- transcoding as they arrive

def test_transcode_bounds_what_is_on_the_disk(site, tmp_path):
    expected, most, seen = kinetics(site, parts=8, each=3), [], []
    work = tmp_path / "k/.download/val"
    def transcode(pairs):
        time.sleep(0.05)  # others could run ahead meanwhile
        most.append(len({p.name.split(".tar.gz")[0] for p in work.iterdir() if p.name.startswith("part_")}))
        seen.append([s.parent for s, _ in pairs])
        for source, target in pairs: target.write_bytes(source.read_bytes()[:100])
        return []
    report = get(site, tmp_path / "k", transcode=transcode, parallel=2)
    assert report.videos == 24 and files(tmp_path / "k/val") == {p: d[:100] for p, d in expected.items()}
    assert len(most) == 8 and max(most) == 2 and all(len(set(folders)) == 1 for folders in seen) and not leftovers(tmp_path / "k")

def test_what_the_transcoder_can_not_read_is_listed(site, tmp_path):
    kinetics(site, parts=1)
    def transcode(pairs):
        for source, target in pairs[2:]: target.write_bytes(b"small")
        return [(pairs[0][0], "no video stream")]  # and nothing about the second
    report = get(site, tmp_path / "k", transcode=transcode)
    assert report.videos == 2 and sorted(why for _, why in report.missing) == ["no video stream", "the transcoder left nothing"] and not report.failed
    site.log.clear()
    assert get(site, tmp_path / "k", transcode=transcode).missing == report.missing and site.log == []

def test_an_error_of_the_transcoder_ends_the_run_and_loses_nothing(site, tmp_path):
    kinetics(site)
    def transcode(pairs): raise VidclsError("no encoder")
    with pytest.raises(VidclsError, match="no encoder"): get(site, tmp_path / "k", transcode=transcode, parallel=1)
    assert "part_0.tar.gz" in leftovers(tmp_path / "k") and site.asked[PART(2)] == 0
    def works(pairs): [t.write_bytes(b"s") for _, t in pairs]; return []
    assert get(site, tmp_path / "k", transcode=works).videos == 12 and site.asked[PART(0)] == 1

def test_a_full_disk_does_not_pass_for_broken_videos(site, tmp_path, monkeypatch):
    kinetics(site, parts=1)
    def transcode(pairs):
        monkeypatch.setattr(download.shutil, "disk_usage", lambda folder: SimpleNamespace(free=0))
        return [(source, "No space left on device") for source, _ in pairs]
    with pytest.raises(DiskFull): get(site, tmp_path / "k", transcode=transcode)
    assert not list((tmp_path / "k/.download/val/done").iterdir()) and "part_0.tar.gz" in leftovers(tmp_path / "k")


# ---- killed

RUN = """
import sys, time
from vidcls import download
from pathlib import Path
download.BACKOFF = 0.01
def transcode(pairs):
    for source, target in pairs:
        if not target.exists():
            part = target.with_suffix(".part"); part.write_bytes(source.read_bytes()[:100]); time.sleep(0.02); part.replace(target)
    return []
download.download_kinetics(sys.argv[1], base_url=sys.argv[2], parallel=1, transcode=transcode if sys.argv[3] == "transcode" else None)
"""

@pytest.mark.parametrize("moment", ["fetching", "transcode"])
def test_killed_at_any_moment(site, tmp_path, moment):
    expected = kinetics(site, parts=4, each=8)
    if moment == "fetching": site.moods[PART(2)] = lambda h, n: dict(slow=0.05) if n == 1 else {}
    out = tmp_path / "k"
    start = lambda: subprocess.Popen([sys.executable, "-c", RUN, str(out), site.url, moment], stdout=subprocess.PIPE, text=True)
    ready = lambda: ((out / ".download/val/part_2.tar.gz.part").exists() and (out / ".download/val/part_2.tar.gz.part").stat().st_size > 8_000) if moment == "fetching" \
        else len(list(out.glob("val/*/*.mp4"))) in range(19, 23)
    process, deadline = start(), time.time() + 60
    while not ready():
        assert process.poll() is None and time.time() < deadline, "it ended before it could be killed"
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL); process.wait()
    whole = files(out / "val")
    short = 100 if moment == "transcode" else None
    assert all(data == expected[p][:short] for p, data in whole.items() if p.endswith(".mp4")) and 16 <= len(whole) < 32  # no half file has the name of a video
    site.log.clear()
    process = start(); printed = process.communicate()[0]
    assert process.returncode == 0 and {p: d for p, d in files(out / "val").items() if p.endswith(".mp4")} == {p: d[:short] for p, d in expected.items()}
    asked = dict(site.log)
    assert not {PART(0), PART(1)} & set(asked) and PART(3) in asked and not leftovers(out)
    if moment == "fetching": assert int(asked[PART(2)][6:-1]) > 8_000
    else: assert PART(2) not in asked  # it was whole already
    assert "4 of 4 archives" in printed

def test_an_error_stops_the_other_downloads(site, tmp_path):
    kinetics(site, parts=3, each=8)
    for part in (1, 2): site.moods[PART(part)] = lambda h, n: dict(slow=0.5)
    def transcode(pairs): raise KeyboardInterrupt
    start = time.time()
    with pytest.raises(KeyboardInterrupt): get(site, tmp_path / "k", transcode=transcode, parallel=3)
    assert time.time() - start < 2.5  # the slow archives would have taken four seconds
