"""Mail by SMTP, with the standard library: one connection a message."""

import contextlib
import hashlib
import smtplib
import ssl
from collections.abc import Generator
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import format_datetime
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final, Literal
from urllib.parse import unquote, urlsplit

from mlg.core.clock import Clock, rfc3339
from mlg.core.errors import BackendError, ManifestError
from mlg.core.ports import Files, Message, Secrets

if TYPE_CHECKING:
    from mlg.core.ports import Notifier

Security = Literal["none", "starttls", "tls"]

ATTEMPTS: Final = 3
FIRST_PAUSE_S: Final = 0.5
"""Pause before the second attempt; it doubles."""

_PORTS: Final[dict[Security, int]] = {"none": 25, "starttls": 587, "tls": 465}
_SCHEMES: Final[dict[str, Security]] = {
    "smtp": "none",
    "smtp+starttls": "starttls",
    "smtps": "tls",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SmtpServer:
    """Where mail is handed in."""

    host: str
    port: int
    security: Security = "starttls"
    """`none`, `starttls` (refused if the server cannot) or `tls` from the first byte."""
    user: str = ""
    password: str = ""
    """`secret://…`, resolved at use; empty without a user."""
    sender: str = "mlg@localhost"
    timeout_s: float = 10.0


def smtp_server(
    url: str, *, password: str = "", sender: str = "", where: str = "MLG_SMTP_URL"
) -> SmtpServer:
    """Return the server that a URL names.

    Args:
        url: `smtp://`, `smtp+starttls://` or `smtps://`, `[user@]host[:port]`.
        password: `secret://…` of the user's password.
        sender: Address in `From`; `mlg@<host>` if empty.
        where: How messages name the setting.

    Raises:
        ManifestError: The URL is none, carries a password, or would send one in the clear.
    """
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        port = -1
    known = parts.scheme in _SCHEMES and parts.hostname and port != -1
    if not known or parts.path not in {"", "/"} or parts.query or parts.fragment:
        raise ManifestError(
            "expected smtp://, smtp+starttls:// or smtps:// with [user@]host[:port]",
            where=where,
            hint="for example smtp+starttls://mlg@mail.example.com:587",
        )
    if parts.password is not None:
        raise ManifestError(
            "expected no password in the address, got one",
            where=where,
            hint="name it by secret://env/NAME or secret://file/PATH (MLG_SMTP_PASSWORD).",
        )
    user, security = unquote(parts.username or ""), _SCHEMES[parts.scheme]
    host = parts.hostname or ""
    if user and not password.startswith("secret://"):
        raise ManifestError(
            f"expected secret://… for the password of {user!r}, got none",
            where=where,
            hint="set MLG_SMTP_PASSWORD=secret://env/NAME.",
        )
    if user and security == "none" and not _is_loopback(host):
        raise ManifestError(
            f"expected an encrypted connection to send a password to {host}, got smtp://",
            where=where,
            hint="write smtp+starttls:// or smtps://",
        )
    return SmtpServer(
        host=host,
        port=port or _PORTS[security],
        security=security,
        user=user,
        password=password if user else "",
        sender=sender or f"mlg@{host}",
    )


class EmailNotifier:
    """Hands each message to one SMTP server; temporary refusals are tried again.

    `to` holds one address or several with commas; each is handed over by itself, so that
    one that is refused costs the others nothing. What was sent to whom is remembered in a
    file, so a repeat is no second mail; when the process dies between the answer and the
    file, the receiver sees the same `Message-ID` and `mlg-idempotency-key` again.

    Args:
        server: Where mail is handed in.
        secrets: Knows the password, at use.
        clock: Time of the message, and the pauses between attempts.
        files: Remembers the sent keys, below `notified/`.
    """

    def __init__(
        self, server: SmtpServer, secrets: Secrets, clock: Clock, files: Files
    ) -> None:
        self._server, self._secrets = server, secrets
        self._clock, self._files = clock, files

    def send(self, message: Message, key: str) -> None:
        mail = self._mail(message, key)
        failed: BackendError | None = None
        for address in dict.fromkeys(part.strip() for part in message.to.split(",")):
            mark = f"notified/{_digest(key, address)}"
            if self._files.read(mark) is not None:
                continue
            try:
                self._deliver(mail, address)
            except BackendError as error:
                failed = failed or error
            else:
                self._files.write(mark, rfc3339(self._clock.now()).encode())
        if failed is not None:
            raise failed

    def _deliver(self, mail: EmailMessage, address: str) -> None:
        """Hand the mail over for one address, a temporary failure up to `ATTEMPTS` times.

        Raises:
            BackendError: It was not taken.
        """
        for attempt in range(ATTEMPTS):
            try:
                with self._connected() as smtp:
                    smtp.send_message(mail, to_addrs=[address])
            except (smtplib.SMTPException, OSError) as error:
                if attempt == ATTEMPTS - 1 or not _is_temporary(error):
                    raise self._refused(error) from error
            else:
                return
            self._clock.wait(FIRST_PAUSE_S * 2**attempt)

    def _mail(self, message: Message, key: str) -> EmailMessage:
        """Return the message as it is sent.

        Raises:
            BackendError: An address or the subject cannot stand in a header.
        """
        mail = EmailMessage()
        try:
            mail["From"] = self._server.sender
            mail["To"] = message.to
            mail["Subject"] = message.subject
            mail["Date"] = format_datetime(self._clock.now())
            mail["Message-ID"] = f"<{_digest(key)}@{self._server.sender.rpartition('@')[2]}>"
            mail["mlg-idempotency-key"] = key
            mail["Auto-Submitted"] = "auto-generated"
            mail.set_content(message.body)
        except ValueError as error:
            raise BackendError(
                f"mail was not taken: {error}",
                where="channel email",
                hint="subjects and addresses stand on one line.",
            ) from error
        return mail

    @contextlib.contextmanager
    def _connected(self) -> Generator[smtplib.SMTP]:
        server = self._server
        if server.security == "tls":
            context = ssl.create_default_context()
            smtp: smtplib.SMTP = smtplib.SMTP_SSL(
                server.host, server.port, timeout=server.timeout_s, context=context
            )
        else:
            smtp = smtplib.SMTP(server.host, server.port, timeout=server.timeout_s)
        try:
            if server.security == "starttls":
                smtp.starttls(context=ssl.create_default_context())
            if server.user:
                smtp.login(server.user, self._secrets.resolve(server.password))
            yield smtp
            with contextlib.suppress(smtplib.SMTPException, OSError):
                smtp.quit()  # the mail was taken: a failed goodbye changes nothing
        finally:
            smtp.close()

    def _refused(self, error: Exception) -> BackendError:
        place = f"{self._server.host}:{self._server.port}"
        return BackendError(
            f"mail was not taken: {_words(error)}",
            where=f"mail server {place}",
            hint=_hint(error),
        )


def _digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


def _is_temporary(error: Exception) -> bool:
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return all(400 <= code < 500 for code, _ in error.recipients.values())
    if isinstance(error, smtplib.SMTPResponseException):
        return 400 <= error.smtp_code < 500
    return not isinstance(error, ssl.SSLCertVerificationError | smtplib.SMTPNotSupportedError)


def _words(error: Exception) -> str:
    """Return the server's answer, or what failed; never the credentials."""
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        code, text = next(iter(error.recipients.values()))
        return f"{code} {_text(text)}"
    if isinstance(error, smtplib.SMTPAuthenticationError):
        return f"{error.smtp_code} the server refused the user or password"
    if isinstance(error, smtplib.SMTPResponseException):
        return f"{error.smtp_code} {_text(error.smtp_error)}"
    return f"{type(error).__name__}: {error}"[:200]


def _text(text: bytes | str) -> str:
    plain = text.decode(errors="replace") if isinstance(text, bytes) else text
    return " ".join(plain.split())[:200]


def _hint(error: Exception) -> str:
    if isinstance(error, smtplib.SMTPAuthenticationError):
        return "check the user in MLG_SMTP_URL and the secret that MLG_SMTP_PASSWORD names."
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return "check the addresses of the rule."
    if isinstance(error, smtplib.SMTPNotSupportedError | ssl.SSLError):
        return "check that the server speaks the encryption that MLG_SMTP_URL names."
    return "check that the mail server is up and that MLG_SMTP_URL names it."


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


if TYPE_CHECKING:
    from mlg.adapters.files_memory import MemoryFiles
    from mlg.adapters.secrets_memory import MemorySecrets
    from mlg.core.clock import ManualClock

    _: Notifier = EmailNotifier(
        SmtpServer(host="localhost", port=25), MemorySecrets({}), ManualClock(), MemoryFiles()
    )
