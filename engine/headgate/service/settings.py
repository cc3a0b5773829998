"""The settings of `headgate serve`: flags, `HEADGATE_*` variables, the vendor's variables, a TOML file, defaults.

Each wins over what comes after it. The vendor's variables, such as `REDIS_HOST`, are those of headgate.service.vendor.

Every name that begins with `HEADGATE_`, every field of the file and every flag has to be known: a setting that is
misspelt is an error that names the nearest one. Values of secrets are never shown.
"""

from __future__ import annotations

import difflib
import ipaddress
import json
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import ConfigDict, Field, SecretStr, ValidationError, ValidationInfo, field_validator

from headgate.errors import InvalidInput, Problem
from headgate.model.ids import ID_RULE, is_id
from headgate.service.addresses import OFF, parse_address, write_address
from headgate.service.vendor import HIDDEN, read_vendor_variables
from headgate.settings import Settings

PREFIX: Final = "HEADGATE_"
CONFIG_VARIABLE: Final = "HEADGATE_CONFIG"
API_KEY_LENGTH_MIN: Final = 16
OFFLINE_BY_FALLBACKS: Final = "yes"
"""The value of `offline` that asks for no document: every answer is its fallback."""
FALLBACK_RULE: Final = 'must be a JSON object of objects by feature, such as {"sso": {"hasAccess": true}}'

_SWITCHED: Final = {
    **dict.fromkeys(("1", "true", "yes", "on"), OFFLINE_BY_FALLBACKS),
    **dict.fromkeys(("0", "false", "no", "off"), None),
}

OTHER_VARIABLES: Final = frozenset(
    {
        CONFIG_VARIABLE,
        "HEADGATE_REDIS_SERVER",
        "HEADGATE_TRACES",
        # What the tests go by, so that a server that they start does not mind.
        "HEADGATE_FUZZ_MACHINES",
        "HEADGATE_FUZZ_SECONDS",
        "HEADGATE_LOST_REPLIES",
        "HEADGATE_LOST_REPLIES_SEED",
        "HEADGATE_REQUIRE_SERVERS",
        "HEADGATE_SEED",
        "HEADGATE_TEST_COMMAND",
        "HEADGATE_TEST_EVERY_PAIR",
    }
)
"""Variables that are no settings of a server, and mean something elsewhere."""


class RepeatedName(ValueError):
    """A name is there twice in an object of JSON: which of the two would be answered is for nobody to guess."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise RepeatedName(repr(next(name for name in names if names.count(name) > 1)))
    return found


class ServeSettings(Settings):
    """Everything that `headgate serve` can be told; what a client can be told is there, too."""

    model_config = ConfigDict(strict=False, hide_input_in_errors=True)

    url: str | None = Field(default=None, description="where the counters are, such as redis://localhost:6379/0")
    environment: str = Field(default="default", description="which of the environments that are kept there")
    host: str = Field(default="127.0.0.1", description="the address to listen on; any but loopback needs an API key")
    port: int = Field(default=8080, ge=1, le=65_535, description="the port to listen on")
    workers: int = Field(default=1, ge=1, le=256, description="processes that answer on the one port")
    grpc: str = Field(
        default="127.0.0.1:50051",
        description="where the sidecar's gRPC API listens, such as 0.0.0.0:80 or [::1]:50051, or off",
    )
    grpc_read_only: bool = Field(default=False, description="whether the gRPC API refuses reports, and only reads")
    grpc_tls_certificate: Path | None = Field(
        default=None, description="a file of certificates (PEM), with which the gRPC API is encrypted"
    )
    grpc_tls_key: Path | None = Field(
        default=None, validate_default=True, description="the file of the key (PEM) that belongs to the certificate"
    )
    entitlements_fallback: str | dict[str, Any] | None = Field(
        default=None,
        description="answers by feature for when there is no data, as JSON text; a table in the file",
    )
    without_data: Literal["fallback", "error"] = Field(
        default="fallback",
        description="what is said where there is neither data nor a fallback: fallback (no access), or error",
    )
    offline: str | None = Field(
        default=None,
        description="the path of a document of entitlements, or yes: fallbacks alone; no Redis is contacted",
    )
    api_key: SecretStr | None = Field(
        default=None, description="one more API key, with full scope; no flag, as those are seen by others"
    )
    cache_max_bytes: int = Field(
        default=64 << 20,
        ge=0,
        le=1 << 40,
        description="memory for entitlements that are answered without asking Redis; 0: each answer asks",
    )
    sweep_every_seconds: float = Field(
        default=60.0, ge=1, le=86_400, description="how often expired reservations of quiet customers are freed"
    )
    stop_within_seconds: int = Field(
        default=30, ge=1, le=3_600, description="how long requests under way may take once it is told to stop"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="debug, info, warning or error; one line a request is info"
    )

    @field_validator("environment")
    @classmethod
    def _is_an_id(cls, value: str) -> str:
        if not is_id(value):
            raise ValueError(ID_RULE)
        return value

    @field_validator("host")
    @classmethod
    def _is_an_address(cls, value: str) -> str:
        if value == "localhost":
            return "127.0.0.1"
        try:
            return str(ipaddress.ip_address(value))
        except ValueError:
            raise ValueError("must be an IP address, such as 127.0.0.1 or 0.0.0.0, or localhost") from None

    @field_validator("grpc")
    @classmethod
    def _is_an_address_with_a_port(cls, value: str) -> str:
        return OFF if value == OFF else write_address(*parse_address(value))

    @field_validator("grpc_tls_key")
    @classmethod
    def _belongs_to_a_certificate(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        certificate = "grpc_tls_certificate"
        if certificate in info.data and (value is None) != (info.data[certificate] is None):
            raise ValueError("grpc_tls_certificate and grpc_tls_key are given both, or neither")
        return value

    @field_validator("entitlements_fallback")
    @classmethod
    def _is_by_feature(cls, value: str | dict[str, Any] | None) -> str | dict[str, Any] | None:
        if value is None:
            return None
        try:
            by_feature = json.loads(value, object_pairs_hook=_object) if isinstance(value, str) else value
        except RepeatedName as error:
            raise ValueError(f"{FALLBACK_RULE}; {error} is there twice") from None
        except (ValueError, RecursionError):
            raise ValueError(FALLBACK_RULE) from None
        if not isinstance(by_feature, dict) or not all(isinstance(each, dict) for each in by_feature.values()):
            raise ValueError(FALLBACK_RULE)
        return value

    @field_validator("offline", mode="before")
    @classmethod
    def _is_a_path_or_a_switch(cls, value: object) -> object:
        return _SWITCHED.get(str(value).lower(), value) if isinstance(value, str | bool) else value

    @field_validator("api_key")
    @classmethod
    def _is_hard_to_guess(cls, value: SecretStr | None) -> SecretStr | None:
        text = "" if value is None else value.get_secret_value()
        if value is not None and (len(text) < API_KEY_LENGTH_MIN or not text.isascii() or not text.isprintable()):
            raise ValueError(f"must have {API_KEY_LENGTH_MIN} printable ASCII characters or more")
        return value

    @property
    def is_private(self) -> bool:
        """Whether only this machine can reach it."""
        return ipaddress.ip_address(self.host).is_loopback

    @property
    def grpc_address(self) -> tuple[str, int] | None:
        """The host (IPv6 without brackets) and the port of the gRPC API; None where it is off."""
        return None if self.grpc == OFF else parse_address(self.grpc)

    @property
    def grpc_is_private(self) -> bool:
        """Whether only this machine can reach the gRPC API, or nobody."""
        return self.grpc_address is None or ipaddress.ip_address(self.grpc_address[0]).is_loopback

    def of_client(self) -> Settings:
        """What the engine of each process is told."""
        return Settings(**{name: getattr(self, name) for name in Settings.model_fields})


SECRETS: Final = frozenset({"api_key"})


def variable_of(field: str) -> str:
    """Name the variable of a setting."""
    return PREFIX + field.upper()


def flag_of(field: str) -> str:
    """Name the flag of a setting."""
    return "--" + field.replace("_", "-")


def read_settings(flags: Mapping[str, Any], variables: Mapping[str, str], file: Path | None = None) -> ServeSettings:
    """Put settings together; raise `InvalidInput` naming every one that is wrong, and where it stands."""
    problems: list[Problem] = []
    if file is None and variables.get(CONFIG_VARIABLE):
        file = Path(variables[CONFIG_VARIABLE])
    given: dict[str, Any] = {}
    places: dict[str, str] = {}
    of_file = {} if file is None else _read_file(file, problems)
    of_variables = _known_variables(variables, problems)
    of_flags = {field: value for field, value in flags.items() if value is not None}
    vendor = read_vendor_variables(
        variables, decided=of_variables.keys() | of_flags.keys(), grpc_of_file=of_file.get("grpc")
    )
    problems += vendor.problems
    named: tuple[tuple[Mapping[str, Any], Any], ...] = (
        (of_file, lambda field: f"{file}: {field}"),
        (vendor.values, vendor.places.__getitem__),
        (of_variables, variable_of),
        (of_flags, flag_of),
    )
    for values, place_of in named:
        given.update(values)
        places.update({field: place_of(field) for field in values})
    try:
        settings = ServeSettings.model_validate(given)
    except ValidationError as error:
        problems += _problems_of(error, given, places)
    else:
        if not problems:
            return settings
    raise InvalidInput(problems)


def _known_variables(variables: Mapping[str, str], problems: list[Problem]) -> dict[str, str]:
    """The settings among the variables; an empty one is as good as none."""
    fields = {variable_of(field): field for field in ServeSettings.model_fields}
    found = {}
    for name, value in sorted(variables.items()):
        if name in fields:
            if value:
                found[fields[name]] = value
        elif name.startswith(PREFIX) and name not in OTHER_VARIABLES:
            problems.append(Problem(name, HIDDEN, _unknown(name, {*fields, CONFIG_VARIABLE})))
    return found


def _read_file(file: Path, problems: list[Problem]) -> dict[str, Any]:
    try:
        document = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        problems.append(Problem("--config", str(file), f"cannot be read: {error.strerror}"))
        return {}
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        problems.append(Problem("--config", str(file), f"is not TOML: {error}"))
        return {}
    for name in sorted(set(document) - set(ServeSettings.model_fields)):
        rule = _unknown(name, set(ServeSettings.model_fields))
        problems.append(Problem(f"{file}: {name}", HIDDEN, rule))
        del document[name]
    return document


def _unknown(name: str, known: set[str]) -> str:
    nearest = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.0)
    return f"is no setting; the nearest is {nearest[0]}"


def _problems_of(error: ValidationError, given: Mapping[str, Any], places: Mapping[str, str]) -> Iterator[Problem]:
    for detail in error.errors(include_url=False, include_input=False):
        field = str(detail["loc"][0])
        shown = HIDDEN if field in SECRETS else given.get(field)
        yield Problem(places.get(field, field), shown, detail["msg"].removeprefix("Value error, "))
