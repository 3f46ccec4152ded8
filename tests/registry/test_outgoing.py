"""Requests to addresses that users name: nothing but the public internet, whatever the other side tries."""

import datetime
import http.server
import socket
import ssl
import threading
import time
from ipaddress import ip_address, ip_network

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from registry import outgoing

LOOPBACK = [ip_network("127.0.0.0/8")]
HOST = "hooks.example.org"


def _answers(*addresses):
    """A resolver with one answer for each time it is asked, and the questions it was asked."""
    asked = []

    def resolve(host, port, **_):
        asked.append(host)
        family = socket.AF_INET6 if ":" in addresses[len(asked) - 1] else socket.AF_INET
        return [(family, socket.SOCK_STREAM, 6, "", (addresses[len(asked) - 1], port))]

    resolve.asked = asked
    return resolve


class Receiver(http.server.BaseHTTPRequestHandler):
    """Keeps what comes, and answers as its server is told to."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.taken.append((self.path, dict(self.headers), body))
        self.send_response(self.server.status)
        self.send_header("Location", "http://127.0.0.1:1/elsewhere")
        self.end_headers()
        self.server.more(self.wfile)

    def log_message(self, *_):
        """Quiet."""


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A key and a certificate for `HOST`, which signs itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, HOST)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(subject_name=name, issuer_name=name, public_key=key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(HOST)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "receiver.pem"
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(key.private_bytes(*form) + made.public_bytes(serialization.Encoding.PEM))
    return path


@pytest.fixture
def receiver(settings):
    """A real server on a loopback port, which the installation permits."""
    settings.WEBHOOK_NETWORKS = LOOPBACK
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    server.taken, server.status, server.more = [], 200, lambda _: None
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def _url(server, scheme="http"):
    return f"{scheme}://{HOST}:{server.server_port}/in?a=b"


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "100.100.100.200",
        "0.0.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255", "192.0.2.1", "198.18.0.1", "168.63.129.16",
        "::1", "::", "fe80::1", "fc00::1", "fd00:ec2::254", "ff02::1", "fec0::1", "2001:db8::1", "::ffff:8.8.8.8",
        "::ffff:127.0.0.1", "::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::808:808", "2002:7f00:1::", "2002:808:808::",
        "2001:0:7f00:1::1",
    ],
)  # fmt: skip
def test_an_address_that_is_not_the_internets_is_refused_before_anything_is_sent(address):
    with pytest.raises(outgoing.Refused, match="no public address"):
        outgoing.post(f"https://{HOST}/", b"{}", {}, resolve=_answers(address))


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "2606:4700:4700::1111"])
def test_a_public_address_is_let_through(address):
    assert outgoing.is_public(ip_address(address))


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("http://example.org/", "must be https"),
        ("ftp://example.org/", "must be https"),
        ("file:///etc/passwd", "names no host"),
        ("https://user:word@example.org/", "a user or a password"),
        ("https://@example.org/", "a user or a password"),
        ("https://example.org:22/#a", "fragment"),
        ("https://8.8.8.8:22/", "port 22 must be one of 443, 8443"),
        ("https://[::1]/", "no public address"),
        ("https://127.0.0.1/", "no public address"),
        ("https://example.org:99999/", "is no address"),
        ("https://exa mple.org/", "a space"),
        ("https://example.org\\@127.0.0.1/", "names no host"),
        ("https://ex%61mple.org/", "names no host"),
        ("https://[fe80::1%25eth0]/", "."),
        ("https://bücher.example/", "outside of ASCII"),
        ("", "names no host"),
        ("https:///nowhere", "names no host"),
        ("https://[::1", "is no address"),
    ],
)
def test_an_address_that_is_refused_says_why(url, sentence):
    with pytest.raises(outgoing.Refused, match=sentence):
        outgoing.target(url)


@pytest.mark.parametrize("host", ["localhost", "127.1", "2130706433", "0x7f000001", "0177.0.0.1"])
def test_other_spellings_of_this_machine_are_resolved_and_refused(host):
    with pytest.raises(outgoing.Refused, match="no public address"):
        outgoing.post(f"https://{host}/", b"{}", {})


def test_one_private_address_among_public_ones_refuses_all():
    def both(host, port, **_):
        return [(socket.AF_INET, 1, 6, "", (text, port)) for text in ("8.8.8.8", "10.0.0.1")]

    with pytest.raises(outgoing.Refused, match=r"10\.0\.0\.1"):
        outgoing.post(f"https://{HOST}/", b"{}", {}, resolve=both)


def test_a_message_arrives_at_the_checked_address_under_the_name(receiver):
    found = outgoing.post(_url(receiver), b'{"a":1}', {"X-Extra": "1"}, resolve=_answers("127.0.0.1"))
    path, headers, body = receiver.taken[0]
    assert (found, path, body) == (200, "/in?a=b", b'{"a":1}')
    assert headers["Host"] == f"{HOST}:{receiver.server_port}" and headers["X-Extra"] == "1"


def test_a_name_server_that_changes_its_answer_is_asked_once(receiver, monkeypatch):
    receiver_only, second = "127.0.0.1", "10.0.0.1"
    resolve = _answers(receiver_only, second)
    dialled = []
    connect = socket.create_connection
    monkeypatch.setattr(socket, "create_connection", lambda to, **kw: dialled.append(to[0]) or connect(to, **kw))
    assert outgoing.post(_url(receiver), b"{}", {}, resolve=resolve) == 200
    assert (resolve.asked, dialled) == ([HOST], [receiver_only])
    with pytest.raises(outgoing.Refused):
        outgoing.post(_url(receiver), b"{}", {}, resolve=resolve)
    assert len(receiver.taken) == 1


def test_what_is_permitted_privately_stays_refused_elsewhere_by_http(receiver):
    with pytest.raises(outgoing.Refused, match="by https"):
        outgoing.post("http://example.org/", b"{}", {}, resolve=_answers("8.8.8.8"))


def test_no_redirect_is_followed_and_no_proxy_used(receiver, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    receiver.status = 307
    assert outgoing.post(_url(receiver), b"{}", {}, resolve=_answers("127.0.0.1")) == 307
    assert len(receiver.taken) == 1


def test_an_answer_without_end_is_not_read(receiver):
    written = []

    def flood(file):
        try:
            while True:
                written.append(file.write(b"x" * 65536))
        except OSError:
            pass

    receiver.more = flood
    started = time.monotonic()
    assert outgoing.post(_url(receiver), b"{}", {}, resolve=_answers("127.0.0.1")) == 200
    assert time.monotonic() - started < 5
    time.sleep(0.05)
    assert sum(written) < 16 * 2**20


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_one_who_answers_byte_by_byte_is_cut_off_at_the_deadline(settings, scheme):
    settings.WEBHOOK_NETWORKS = LOOPBACK
    listener = socket.create_server(("127.0.0.1", 0))

    def drip():
        line, _ = listener.accept()
        try:
            while True:
                line.sendall(b"\x16" if scheme == "https" else b"H")
                time.sleep(0.02)
        except OSError:
            line.close()

    threading.Thread(target=drip, daemon=True).start()
    url = f"{scheme}://{HOST}:{listener.getsockname()[1]}/"
    started = time.monotonic()
    with pytest.raises(outgoing.Unreachable):
        outgoing.post(url, b"{}", {}, resolve=_answers("127.0.0.1"), deadline_s=0.3)
    assert time.monotonic() - started < 3
    listener.close()


def test_by_tls_the_certificate_is_the_names_and_not_the_addresss(receiver, certificate):
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_side.load_cert_chain(certificate)
    receiver.socket = server_side.wrap_socket(receiver.socket, server_side=True)
    knowing = ssl.create_default_context(cafile=str(certificate))
    url = _url(receiver, "https")
    assert outgoing.post(url, b"{}", {}, resolve=_answers("127.0.0.1"), context=knowing) == 200
    for address, context in ((url, None), (url.replace(HOST, "other.example.org"), knowing)):
        with pytest.raises(outgoing.Unreachable, match="certificate is not valid"):
            outgoing.post(address, b"{}", {}, resolve=_answers("127.0.0.1"), context=context)
    assert len(receiver.taken) == 1


def test_nobody_there_is_said_so(receiver):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://{HOST}:{probe.getsockname()[1]}/"
        with pytest.raises(outgoing.Unreachable, match="refused"):
            outgoing.post(url, b"{}", {}, resolve=_answers("127.0.0.1"))
