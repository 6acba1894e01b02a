import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from assistant.errors import HoneError
from assistant.redaction import personal, secrets
from assistant.redaction.redact import placeholder, redact
from assistant.redaction.shape import Shape
from tuning.corpus.document import Document, Turn
from tuning.corpus.redact import redact_document

BODY = "MIIEpAIBAAKCAQEA" * 4
# Put together here, so that no scanner takes this file for a leak.
SECRETS = {
    "Artifactory Credentials": "AKC" + "p8kQz7rT4wXy2",
    "AWS Access Key": "AKIA" + "IOSFODNN7EXAMPL2",
    "Azure Storage Account access key": "AccountKey=" + "a1B2c3D4" * 10 + "e5F6==Zz",
    "Basic Auth Credentials": "https://user:hunter2secret@example.invalid/",
    "Discord Bot Token": "M" + "TI3NDU2Nzg5MDEyMzQ1Njc4" + ".GabcdE." + "abcdefghijklmnopqrstuvwxyz0",
    "GitHub Token": "ghp_" + "1234567890abcdefghijklmnopqrstuvwxyz",
    "GitLab Token": "glpat-" + "a1B2c3D4e5F6g7H8i9J0",
    "JSON Web Token": "eyJ" + "hbGciOiJIUzI1NiJ9" + ".eyJ" + "zdWIiOiIxMjM0In0" + ".dozjgNryP4J3jVmNHl0w5N",
    "Mailchimp Access Key": "0123456789abcdef" * 2 + "-us12",
    "OpenAI Token": "sk-" + "a1B2c3D4e5F6g7H8i9J0" + "T3BlbkFJ" + "a1B2c3D4e5F6g7H8i9J0",
    "PyPI Token": "pypi-" + "AgEIcHlwaS5vcmc" + "a1B2c3D4e5" * 8,
    "SendGrid API Key": "SG." + "a1B2c3D4e5F6g7H8i9J0kK" + "." + "a1B2c3D4e5F6g7H8i9J0" * 2 + "abc",
    "Slack Token": "xoxb-" + "123456789012-123456789012-abcdefghijklmnopqrstuvwx",
    "Square OAuth Secret": "sq0csp-" + "a1B2c3D4e5F6g7H8i9J0" * 2 + "abc",
    "Stripe Access Key": "sk_live_" + "4eC39HqLyjWDarjtT1zdp7dc",
    "Telegram Bot Token": "123456789:" + "a1B2c3D4e5F6g7H8i9J0" + "abcdefghijklmno",
    "Twilio API Key": "SK" + "0123456789abcdef" * 2,
    "Private Key": f"-----BEGIN RSA PRIVATE KEY-----\n{BODY}\n-----END RSA PRIVATE KEY-----",
    "Google API Key": "AIza" + "SyA1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6Q",
    "Anthropic API Key": "sk-ant-" + "api03-a1B2c3D4e5F6g7H8i9J0a1B2c3D4e5F6",
    "Hugging Face Token": "hf_" + "abcdefghijklmnopqrstuvwxyzABCDEFGH",
    "NPM Token": "npm_" + "a1B2c3D4e5F6g7H8i9J0a1B2c3D4e5F6g7H8",
    "DigitalOcean Token": "dop_v1_" + "0123456789abcdef" * 4,
    "Google OAuth Secret": "GOCSPX-" + "a1B2c3D4e5F6g7H8i9J0a1B2c3D4",
    "Vault Token": "hvs." + "a1B2c3D4e5F6g7H8i9J0a1B2c3",
    "Age Secret Key": "AGE-SECRET-KEY-1" + "QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L" + "QPZRY9X8GF2TVDW0S3JN54KHCE",
    "Secret": "q7#Vx2!mZp9Rk",
}
PERSONAL = {
    "Email": ["jane.doe@company.com", "j_d+lists@mail.uni-x.ac.uk", "JANE@COMPANY.DE"],
    "IP Address": ["93.184.216.34", "8.8.4.200", "2a00:1450:4001:81b::200e", "2606:4700:4700:0:0:0:0:1111"],
    "Phone Number": ["+44 20 7946 0958", "+1 (415) 867-2310", "+4915112345678", "+33-6-12-34-56-78"],
    "IBAN": ["DE89 3704 0044 0532 0130 00", "GB82WEST12345698765432", "NO9386011117947"],
    "Payment Card": ["4111 1111 1111 1234".replace("1234", "1111"), "5500-0000-0000-0004", "3782 822463 10005"],
}


@pytest.mark.parametrize("kind", SECRETS)
@pytest.mark.parametrize("line", ['api_token = "{}"', "api_token: '{}',", "# see {} ", "    headers['k'] = `{}`;"])
def test_a_planted_secret_is_gone_whole(kind: str, line: str):
    secret = SECRETS[kind]
    if kind == "Secret" and line.startswith(("#", "    ")):
        pytest.skip("only a name tells that it is one")
    planted = line.format(secret)
    clean, kinds = redact(f"before = 1\n{planted}\nafter = 2\n")
    assert kind in kinds
    assert placeholder(kind) in clean
    assert clean.startswith("before = 1\n" + line.partition("{}")[0])
    assert clean.endswith(line.partition("{}")[2] + "\nafter = 2\n")
    body = "hunter2" if kind.startswith("Basic") else secret.removesuffix("-----END RSA PRIVATE KEY-----")[-12:].strip()
    assert body not in clean
    assert redact(clean) == (clean, [])


@pytest.mark.parametrize(
    ("code", "clean"),
    [
        ('password = "QfazVuwDJDdIQSObrW51"', 'password = "<SECRET>"'),
        ('password = "hunter2Secret"', 'password = "<SECRET>"'),
        ('{"db_password": "kX9-mQ2v!pL"}', '{"db_password": "<SECRET>"}'),
        ("settings['SECRET_KEY'] = 'k3%9zqv(e&x!m2'", "settings['SECRET_KEY'] = '<SECRET>'"),
        ('os.environ.get("API_KEY", "d41d8cd98f00b204")', 'os.environ.get("API_KEY", "<SECRET>")'),
        ('api_key: str = "d41d8cd98f00b204"', 'api_key: str = "<SECRET>"'),
        ('AccessKey := "Zq81mVx02LpR"', 'AccessKey := "<SECRET>"'),
        ('token = "kfhgWQpx7RtYbnmZ"', 'token = "<SECRET>"'),
        ('if token == "Zq81mVx02LpR":', 'if token == "<SECRET>":'),
        ("Authorization: Bearer Zq81mVx02LpRZq81mVx02LpR", "Authorization: Bearer <BEARER_TOKEN>"),
    ],
)
def test_values_given_to_telling_names(code: str, clean: str):
    assert redact(code)[0] == clean


@pytest.mark.parametrize(("kind", "value"), [(kind, value) for kind, values in PERSONAL.items() for value in values])
def test_personal_data_is_gone(kind: str, value: str):
    for line in (f'x = "{value}"', f"# ask {value}, please", f"<{value}>"):
        assert redact(line) == (line.replace(value, placeholder(kind)), [kind])


@pytest.mark.parametrize(
    "code",
    [
        "password = getpass()",
        'password = os.environ["DB_PASSWORD"]',
        'password = "<your password here>"',
        'password = "changeme123"',
        'secret = "${SECRET_VALUE_42}"',
        'token = "%(token1)s-%(token2)s"',
        'api_key = "YOUR_API_KEY_123"',
        'token_url = "https://auth.example.org/oauth2/token1"',
        'eos_token = "<|im_end|>"',
        'tokenizer_class = "GPT2TokenizerFast"',
        'token2wav = "Qwen2_5OmniToken2WavDiTModel"',
        'SECRET_NAME = "projects/x/secrets/db-1"',
        'token_type = "oauth2_bearer_v2"',
        'sha = "' + "0123456789abcdef" * 4 + '"',
        'mail = "someone@example.com"',
        "noreply@github.com",
        "12345+me@users.noreply.github.com",
        "git@github.com:owner/name.git",
        "@app.route('/x')\ndef f(): pass",
        "thanks @octocat and @some.one",
        "scores = queries@keys.T",
        "y = self.weight@x.to(device)",
        "npm i @types/node@20.1.3",
        "ssh://deploy@host.internal.net/x",
        "host = '127.0.0.1', '10.1.2.3', '192.168.1.20', '172.16.0.9', '0.0.0.0', '255.255.255.0'",
        "doc = '192.0.2.55', '198.51.100.7', '203.0.113.99', '::1', 'fe80::1', '2001:db8::1'",
        'version = "104.16.249.7"',
        "oid = 1.3.6.1.5.5.7.3.1 and 2.5.4.3",
        "Chrome/104.0.0.0 Safari/537.36",
        "requests==99.100.101.102",
        "time = '12:30:45', std::vector<abc::def>",
        "x = a +44 - 20 + 79460958",
        "call +1 555 0123",
        "offset = '+0100', bounds = -2147483648, +2147483647, '+35236450.6', '+1980-02-29 01:02:03'",
        "mask = 4503599627370496 + 9007199254740992",
        "isbn = '9783161484100', card = '4111 1111 1111 1112'",
        "IBAN = 'DE89 3704 0044 0532 0130 01'",
        'if t.startswith("-----BEGIN RSA PRIVATE KEY-----"):\n    key = load(t)\n    # -----END RSA PRIVATE KEY-----',
        "postgres://user:password@localhost:5432/db",
        "class AKCentralServer : pass\ndef f(x) -> APDUResponse : pass\n",
    ],
)
def test_ordinary_code_is_left_alone(code: str):
    assert redact(code + "\n") == (code + "\n", [])


def test_a_key_that_is_cut_short_is_gone_and_the_code_around_it_is_not():
    begin = "-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n"
    text = f'a = 1\nKEY = """{begin}\n{BODY}\n{BODY}\n"""\ndef f(): return 1\n'
    assert redact(text)[0] == 'a = 1\nKEY = """<PRIVATE_KEY>\n"""\ndef f(): return 1\n'
    in_json = f'{{"private_key": "-----BEGIN PRIVATE KEY-----\\n{BODY}\\n-----END PRIVATE KEY-----\\n", "id": 1}}'
    assert redact(in_json)[0] == '{"private_key": "<PRIVATE_KEY>\\n", "id": 1}'


@pytest.mark.parametrize(
    "text",
    [
        "-----BEGIN RSA PRIVATE KEY-----\n" + "A: b " * 40_000,
        "-----BEGIN RSA PRIVATE KEY-----\nabc " * 5_000,
        'token = "' + "A" * 199 + '"\n' + 'token = "' + "aB1" * 66 + '"',
        "a@" * 50_000 + "a." * 50_000,
        "1." * 100_000 + "+1 " * 50_000 + "2001:" * 40_000,
        "aws key " * 20_000 + "eyJ" * 2_000,
    ],
    ids=["headers", "beginnings", "values", "addresses", "numbers", "words"],
)
def test_no_text_takes_the_patterns_long(text: str):
    """The time limit of the test run is what this would break, with a pattern that backtracks without end."""
    redact(text)


def test_kinds_come_in_the_order_of_the_text_one_for_each_placeholder():
    text = f'a = "{SECRETS["AWS Access Key"]}"  # jane@company.com\ntoken = "{SECRETS["GitHub Token"]}"\n'
    clean, kinds = redact(text)
    assert kinds == ["AWS Access Key", "Email", "GitHub Token"]
    assert clean == 'a = "<AWS_ACCESS_KEY>"  # <EMAIL>\ntoken = "<GITHUB_TOKEN>"\n'


def test_documents_with_turns_are_redacted_turn_by_turn():
    turns = (Turn("user", "I am jane@company.com"), Turn("assistant", "Hello."))
    document = Document(0, "c.jsonl:1", "I am jane@company.com\nHello.", "text", None, "", 9, None, turns)
    clean, kinds = redact_document(document)
    assert kinds == ["Email"]
    assert clean.turns == (Turn("user", "I am <EMAIL>"), Turn("assistant", "Hello."))
    assert clean.text == "I am <EMAIL>\nHello."
    nothing = Document(0, "a.py", "a = 1\n", "python", None, "", 6)
    assert redact_document(nothing) == (nothing, [])


EXCEPTED = ("Basic Auth Credentials", "Artifactory Credentials")
"""Some of their matches are passed over on purpose: `user:password@`, and words without a digit."""
ASCII = st.characters(min_codepoint=9, max_codepoint=126, exclude_categories=("Cc",))


@pytest.mark.parametrize("detector", secrets.detectors(), ids=lambda detector: detector.pattern.pattern[:30])
def test_no_match_gets_past_the_cheap_test(detector: secrets.Detector):
    # hypothesis does not look behind, so what it makes is searched again.
    @settings(deadline=None, max_examples=25, suppress_health_check=list(HealthCheck))
    @given(st.from_regex(detector.pattern, alphabet=ASCII), st.sampled_from(["", "caf\u00e9 \u4e16\n", "x = 1\n"]))
    def check(text: str, before: str) -> None:
        text = before + text + "\nend\n"
        if not any(match[0].strip() for match in detector.pattern.finditer(text)):
            return
        shape = Shape(text)
        assert detector.possible(shape)
        assert list(secrets._matches(detector, shape)) or detector.kind in EXCEPTED

    check()


@settings(deadline=None)
@given(st.text(alphabet=st.sampled_from("aZ0_- \n\u00e9\u4e16\u0130.:+@1"), max_size=80), st.integers(2, 5))
def test_shapes_find_words_where_they_are(text: str, length: int):
    shape = Shape(text)
    assert shape.has_word(length) == bool(re.search(rf"[A-Za-z0-9_\-]{{{length}}}", text))
    lines = [text[start:end] for start, end in shape.lines_with_word(length)]
    assert lines == [line for line in text.split("\n") if re.search(rf"[A-Za-z0-9_\-]{{{length}}}", line)]
    assert len(shape.lower) == len(text)


@settings(deadline=None)
@given(st.text(max_size=60), st.sampled_from(list(SECRETS.items())[5:17]), st.text(max_size=60))
def test_a_secret_is_found_wherever_it_stands(before: str, planted: tuple[str, str], after: str):
    kind, secret = planted
    clean, kinds = redact(f"{before} '{secret}' {after}")
    assert kind in kinds
    assert secret not in clean


def test_installed_packages_are_almost_untouched():
    """A sample that was looked at: what is replaced in it are addresses of authors."""
    stdlib = Path(sysconfig.get_paths()["stdlib"])
    files = [
        stdlib / name for name in ("argparse.py", "dataclasses.py", "typing.py", "enum.py", "tokenize.py", "pathlib.py")
    ]
    files += sorted((stdlib / "asyncio").glob("*.py")) + sorted((stdlib / "json").glob("*.py"))
    found = {file.name: redact(file.read_text("utf-8"))[1] for file in files}
    assert {kind for kinds in found.values() for kind in kinds} == {"Email"}
    assert sum(1 for kinds in found.values() if kinds) <= len(found) / 10


def run_without(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\n{code}\nfrom assistant.redaction.redact import redact\nredact('x = 1')"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    return done.stderr.strip().splitlines()[-1]


def test_without_the_detector_nothing_passes():
    line = run_without("sys.modules['detect_secrets.core.plugins.util'] = None")
    assert line.startswith("assistant.errors.HoneError: the secret detector detect-secrets cannot be used")
    assert "nothing was tokenized" in line


def test_a_detector_that_finds_nothing_is_not_trusted():
    line = run_without(
        "import detect_secrets.core.plugins.util as util\nutil.get_mapping_from_secret_type_to_class = lambda: {}"
    )
    assert "does not find a planted AWS Access Key, so nothing was tokenized" in line


def test_a_detector_that_fails_stops_everything(monkeypatch: pytest.MonkeyPatch):
    def fail(_: Shape) -> list[secrets.Found]:
        raise RuntimeError("boom")

    monkeypatch.setattr(personal, "find", fail)
    with pytest.raises(HoneError, match=r"the secret detector failed \(RuntimeError: boom\), so nothing was tokenized"):
        redact("x = 1\n")
