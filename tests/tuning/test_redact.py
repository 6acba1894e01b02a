import pytest

from tuning.corpus.redact import redact

KEY = "-----BEGIN RSA PRIVATE KEY-----\n" + "MIIEpAIBAAKCAQEA" * 4 + "\n-----END RSA PRIVATE KEY-----"
PLANTED = {
    # Put together here, so that no scanner takes this file for a leak.
    "AWS": "AKIA" + "IOSFODNN7EXAMPL2",
    "GitHub": "ghp_" + "1234567890abcdefghijklmnopqrstuvwxyz",
    "Slack": "xoxb-" + "123456789012-123456789012-abcdefghijklmnopqrstuvwx",
    "Stripe": "sk_live_" + "4eC39HqLyjWDarjtT1zdp7dc",
    "Basic Auth": "https://user:hunter2secret@example.invalid/",
    "Private Key": KEY,
}


@pytest.mark.parametrize("kind", PLANTED)
def test_a_planted_secret_is_gone_whole(kind: str):
    secret = PLANTED[kind]
    clean, kinds = redact(f'before = 1\ntoken = "{secret}"\nafter = 2\n')
    assert len(kinds) == 1
    assert kind.upper().replace(" ", "_") in clean
    assert clean.startswith("before = 1\ntoken = ")
    assert clean.endswith("after = 2\n")
    body = secret.removeprefix("https://user:").split("@")[0] if kind == "Basic Auth" else secret[-12:]
    assert body not in clean


def test_ordinary_code_is_left_alone():
    code = 'password = getpass()\nurl = "https://example.org/a"\nsha = "' + "0123456789abcdef" * 4 + '"\n'
    assert redact(code) == (code, [])
