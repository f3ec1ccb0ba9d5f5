"""Official files that are not there: downloaded whole and as published, or one line that says what to do."""

import http.server
import threading
from contextlib import closing
from http.client import IncompleteRead

import official_files
import pytest
from official_files import archive, cifar_files, fashion_files, made, md5, write
from sparsespike.model.data import cifar, fashion, load_data
from sparsespike.model.data import files as source
from sparsespike.simulator.errors import UserError

DATA = made(200, 40, (1, 28, 28))
FILES = fashion_files(DATA)
LAST = official_files.FASHION[3]


class Server(http.server.ThreadingHTTPServer):
    """Serves bytes by path and counts what it is asked for; `cut` bytes are promised and not sent."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.asked, self.cut = {}, [], 0

    @property
    def address(self):
        return f"http://127.0.0.1:{self.server_port}/"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        name = self.path[1:]
        self.server.asked.append(name)
        if name not in self.server.files:
            self.send_error(404, "Not Found")
            return
        content = self.server.files[name]
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) - self.server.cut])

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(monkeypatch):
    """A server of the four files in the place of the official one."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        server.files = dict(FILES)
        put_in_place(monkeypatch, server.address)
        yield server
        server.shutdown()
        thread.join()


def put_in_place(monkeypatch, address):
    files = tuple(source.OfficialFile(name, md5(FILES[name]), address + name) for name in FILES)
    monkeypatch.setattr(fashion, "FILES", files)


def names(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_what_is_missing_is_downloaded_once(server, tmp_path, capsys):
    write(tmp_path / "fashion-mnist", {LAST: FILES[LAST]})
    first = load_data("fashion-mnist", tmp_path)
    assert server.asked == list(official_files.FASHION[:3])
    assert {path.name: path.read_bytes() for path in (tmp_path / "fashion-mnist").iterdir()} == FILES
    assert load_data("fashion-mnist", tmp_path).train.images.tobytes() == first.train.images.tobytes()
    assert len(server.asked) == 3
    assert first.source == fashion.SOURCE
    assert capsys.readouterr() == ("", "")


def test_the_cifar_archive_is_downloaded(server, tmp_path, monkeypatch):
    packed = archive(cifar_files(made(100, 20, (3, 32, 32))))
    server.files = {"cifar-10-binary.tar.gz": packed}
    address = server.address + "cifar-10-binary.tar.gz"
    monkeypatch.setattr(cifar, "ARCHIVE", source.OfficialFile("cifar-10-binary.tar.gz", md5(packed), address))
    assert len(load_data("cifar10", tmp_path).test.labels) == 20
    assert names(tmp_path) == ["cifar10/cifar-10-binary.tar.gz"]


def test_a_download_of_other_bytes_is_not_kept(server, tmp_path):
    server.files[LAST] = b"<html>moved</html>"
    with pytest.raises(UserError) as error:
        load_data("fashion-mnist", tmp_path)
    path, address = tmp_path / "fashion-mnist" / LAST, server.address + LAST
    assert str(error.value) == (
        f"{path}: not kept: {address} sent other bytes than the published ones, or not all of them "
        f"(MD5 {md5(b'<html>moved</html>')}, published {md5(FILES[LAST])})"
    )
    assert names(tmp_path) == sorted(f"fashion-mnist/{name}" for name in FILES if name != LAST)


def test_a_download_that_breaks_off_leaves_nothing(server, tmp_path):
    server.cut = 7
    with pytest.raises(UserError, match=r"train-images-idx3-ubyte.gz: not kept: http"):
        load_data("fashion-mnist", tmp_path)
    assert names(tmp_path) == []
    server.cut = 0
    assert len(load_data("fashion-mnist", tmp_path).test.labels) == 40


@pytest.mark.parametrize("error", [TimeoutError("timed out"), ConnectionResetError(104, "reset"), IncompleteRead(b"")])
def test_a_connection_that_is_lost_is_not_taken_for_a_full_disk(server, tmp_path, monkeypatch, error):
    def lose(*arguments):
        raise error

    monkeypatch.setattr("http.client.HTTPResponse.read", lose)
    with pytest.raises(
        UserError, match=r"not kept: the download from http.*gz broke off \(.*(timed out|reset|0 bytes)"
    ):
        load_data("fashion-mnist", tmp_path)
    assert names(tmp_path) == []


def test_an_interrupted_download_leaves_nothing(server, tmp_path, monkeypatch):
    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(source.Progress, "advance", interrupt)
    with pytest.raises(KeyboardInterrupt):
        load_data("fashion-mnist", tmp_path)
    assert names(tmp_path) == []


def test_a_file_that_its_makers_no_longer_have_is_said(server, tmp_path):
    server.files = {}
    with pytest.raises(UserError, match=r"cannot be reached \(Not Found\); fetch it from there"):
        load_data("fashion-mnist", tmp_path)


def test_without_a_network_one_line_says_what_is_looked_for_and_where(tmp_path, monkeypatch):
    with closing(http.server.HTTPServer(("127.0.0.1", 0), Handler).socket) as free:
        address = f"http://127.0.0.1:{free.getsockname()[1]}/"
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    put_in_place(monkeypatch, address)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SPARSESPIKE_DATA", raising=False)
    with pytest.raises(UserError) as error:
        load_data("fashion-mnist")
    line, name = str(error.value), official_files.FASHION[0]
    assert line.startswith(f"{tmp_path}/data/fashion-mnist/{name}: no such file, and {address}{name} cannot be reached")
    assert "refused" in line
    assert line.endswith(f"folder that holds fashion-mnist/{name} with --data-folder or SPARSESPIKE_DATA")
    assert "\n" not in line
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_made_is_said(server, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match=r"train-images-idx3-ubyte.gz: cannot be written: .*file/fashion-mnist is no"):
        load_data("fashion-mnist", tmp_path / "file")
