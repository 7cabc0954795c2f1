"""Parameters of a request in the dialects of OpenAI's API.

Every sampling parameter is sent, also one that has no effect: a server fills in what is missing from the model's
``generation_config.json`` or from settings of its own, also for greedy decoding. What a server refuses is sent in
another form, or left out if it has no effect; `Parameters.sent` says what was really sent.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from rollout.engine import Sampling
from rollout.engines.endpoint.errors import EndpointSetupError

DialectName = Literal["auto", "vllm", "sglang", "llama.cpp", "lmstudio", "ollama", "tgi", "openai", "azure"]
Forms = dict[str, list[dict[str, Any]]]
"""By parameter, the forms in which it can be sent, best first. The empty form leaves the parameter out."""

_EXTRA = frozenset({"top_k", "min_p", "repetition_penalty", "repeat_penalty"})
"""Parameters beyond OpenAI's API."""
_TOKEN_IDS: Mapping[str, Any] = {
    "return_token_ids": True,
    "return_tokens_as_token_ids": True,
    "skip_special_tokens": False,
    "include_stop_str_in_output": True,
}
"""vLLM's fields for exact token ids."""
_FOR_TOKEN_IDS = frozenset({*_TOKEN_IDS, "add_special_tokens"})
_NOT_SAMPLING = _FOR_TOKEN_IDS | {"logprobs"}
_NOT_SENT: Mapping[str, frozenset[str]] = {
    "auto": frozenset(),
    "vllm": frozenset({"repeat_penalty"}),
    "sglang": frozenset({"repeat_penalty"}),
    "llama.cpp": frozenset({"repetition_penalty", *_TOKEN_IDS}),
    "lmstudio": frozenset({"repetition_penalty", *_TOKEN_IDS}),
    "ollama": _EXTRA.union(_TOKEN_IDS),  # ignored: the parameters of the Modelfile apply
    # TGI makes a repetition penalty of presence_penalty + 2, refuses top_p 1, and has no defaults of the model.
    "tgi": _EXTRA.union(_TOKEN_IDS, {"presence_penalty", "top_p"}),
    "openai": _EXTRA.union(_TOKEN_IDS),
    "azure": _EXTRA.union(_TOKEN_IDS),
}
_OWNERS: Mapping[str, DialectName] = {
    "vllm": "vllm",
    "sglang": "sglang",
    "llamacpp": "llama.cpp",
    "organization_owner": "lmstudio",
    "organization-owner": "lmstudio",
    "library": "ollama",
}
"""``owned_by`` in the list of models."""
_FINGERPRINTS: Sequence[tuple[str, DialectName]] = (
    (r"fp_ollama", "ollama"),
    (r"b\d+-[0-9a-f]+", "llama.cpp"),
    (r"v?\d+\.\d+\.\d+(-dev\d*)?-(native|sha-\w+|trtllm|llamacpp)", "tgi"),
)
"""``system_fingerprint`` in an answer."""
_GENERAL_REFUSAL = re.compile(
    r"(extra|unknown|unrecogni[sz]ed|unsupported|unexpected|additional|invalid)\b.{0,40}"
    r"\b(input|param|parameter|field|key|argument|propert)",
    re.IGNORECASE | re.DOTALL,
)


class Parameters:
    """Sampling parameters in the dialect of one endpoint; it is learned from answers and refusals.

    Args:
        dialect: what the server is; ``auto`` sends all known parameters until an answer tells.
        host: host of the endpoint.
        api: which of the two APIs is used.
        extensions: whether parameters beyond OpenAI's API may be sent.
        is_text: whether the prompt is sent as text.
    """

    def __init__(self, dialect: DialectName, host: str, api: str, *, extensions: bool, is_text: bool) -> None:
        hosts: Mapping[str, DialectName] = {"api.openai.com": "openai"}
        by_host: DialectName = "azure" if host.endswith(".azure.com") else hosts.get(host, "auto")
        self.dialect: DialectName = by_host if dialect == "auto" else dialect
        self.refused: frozenset[str] = frozenset()
        """Labels of the forms that the endpoint refuses."""
        self._api = api
        self._extensions = extensions
        self._is_text = is_text

    @property
    def takes_grammar(self) -> bool:
        """Whether completions can be constrained to a grammar."""
        return self._extensions and self.dialect in ("auto", "vllm")

    def forms(self, sampling: Sampling, max_tokens: int) -> Forms:
        """Forms of all parameters.

        Raises:
            NotImplementedError: the dialect has no form of a setting of ``sampling``.
        """
        omitted = _NOT_SENT[self.dialect] | (frozenset() if self._extensions else _EXTRA.union(_TOKEN_IDS))
        if sampling.top_k and "top_k" in omitted:
            raise NotImplementedError(
                f"top_k is not part of the API of this endpoint (dialect {self.dialect}, extensions: "
                f"{str(self._extensions).lower()}); set top_k to 0"
            )
        forms: Forms = {
            "max_tokens": [{"max_tokens": max_tokens}, {"max_completion_tokens": max_tokens}],
            "temperature": _or_none("temperature", sampling.temperature, 1.0),
            "top_p": _or_none("top_p", sampling.top_p, 1.0),
            "top_k": [{"top_k": sampling.top_k}] if sampling.top_k else [{"top_k": -1}, {"top_k": 0}, {}],
            **{name: _or_none(name, 1.0, 1.0) for name in ("repetition_penalty", "repeat_penalty")},
            **{name: _or_none(name, 0.0, 0.0) for name in ("min_p", "presence_penalty", "frequency_penalty")},
        }
        if sampling.seed is not None:
            forms["seed"] = [{"seed": sampling.seed}, {"random_seed": sampling.seed}, {}]
        if sampling.stop:  # OpenAI takes four; the text is cut here, too
            forms["stop"] = [{"stop": list(sampling.stop)}, {"stop": list(sampling.stop[:4])}, {}]
        forms |= {name: [{name: value}, {}] for name, value in _TOKEN_IDS.items()}
        if self._api == "completions":
            top = sampling.top_logprobs
            # Some servers interpret 0 as no log-probabilities.
            forms["logprobs"] = [{"logprobs": top}] if top else [{"logprobs": 1}, {}]
            if self._is_text:
                forms["add_special_tokens"] = [{"add_special_tokens": False}, {}]
        return {name: of for name, of in forms.items() if not (name in omitted and {} in of)}

    def learn(self, forms: Forms, refused: frozenset[str], reason: str) -> frozenset[str]:
        """Labels of the forms that are refused, given the reason of one more refusal.

        Raises:
            EndpointSetupError: a parameter has no other form.
        """
        if "`top_p` must be > 0.0 and < 1.0" in reason:
            self.dialect = "tgi"
        sent = {name: form for name, form in chosen(forms, refused).items() if form}
        named = [name for name, form in sent.items() if any(_is_named(key, reason) for key in form)]
        if not named and _GENERAL_REFUSAL.search(reason):
            named = [name for name in sent if name in _EXTRA or name in _FOR_TOKEN_IDS]
        refused = refused | {_label(sent[name]) for name in named}
        for name in named:
            if all(_label(form) in refused for form in forms[name]):
                fix = f"Change the setting {name} of the sampling"
                if name == "logprobs":
                    fix = "Ask for fewer, or raise the server's limit (vLLM: --max-logprobs)"
                raise EndpointSetupError(f"the endpoint refuses {_label(sent[name])}: {reason}. {fix}.")
        return refused

    def recognize(self, fingerprint: object = None, models: Sequence[Mapping[str, Any]] = ()) -> None:
        """Find out the dialect from an answer's ``system_fingerprint`` or from the list of models."""
        if self.dialect != "auto":
            return
        owners = {str(model.get("owned_by")) for model in models}
        found = [name for owner, name in _OWNERS.items() if owners == {owner}]
        if isinstance(fingerprint, str):
            found += [name for pattern, name in _FINGERPRINTS if re.fullmatch(pattern, fingerprint)]
        self.dialect = found[-1] if found else "auto"

    def left_out(self, sampling: Sampling) -> tuple[str, ...]:
        """Sampling parameters that are not sent, so that the server's own defaults may apply."""
        sent = {"repetition_penalty" if key == "repeat_penalty" else key for key in self.sent(sampling)}
        names = (
            "temperature",
            "top_p",
            "top_k",
            "min_p",
            "repetition_penalty",
            "presence_penalty",
            "frequency_penalty",
        )
        return tuple(name for name in names if name not in sent)

    def sent(self, sampling: Sampling) -> dict[str, Any]:
        """Parameters as they are sent for ``sampling``, without the seed, which differs between completions."""
        forms = self.forms(sampling.model_copy(update={"seed": None}), sampling.max_tokens)
        return body({name: of for name, of in forms.items() if name not in _NOT_SAMPLING}, self.refused)


def chosen(forms: Forms, refused: frozenset[str]) -> dict[str, dict[str, Any]]:
    """The best form of each parameter that is not refused."""
    return {name: next((form for form in of if _label(form) not in refused), {}) for name, of in forms.items()}


def body(forms: Forms, refused: frozenset[str]) -> dict[str, Any]:
    """The fields of a request."""
    return {key: value for form in chosen(forms, refused).values() for key, value in form.items()}


def _or_none(name: str, value: float, neutral: float) -> list[dict[str, Any]]:
    """A parameter that can be left out where it has no effect."""
    return [{name: value}, {}] if value == neutral else [{name: value}]


def _label(form: Mapping[str, Any]) -> str:
    """Name of a form: its key, with the value where another value of the same parameter may be accepted."""
    [(key, value)] = form.items() or [("", "")]
    if key in ("max_tokens", "max_completion_tokens", "seed", "random_seed"):
        return key
    return f"{key} {len(value)} texts" if isinstance(value, list) else f"{key} {value}"


def _is_named(key: str, reason: str) -> bool:
    """Whether a message mentions a field, as written or in camel case."""
    camel = re.sub(r"_(\w)", lambda match: match[1].upper(), key)
    return re.search(rf"(?<![A-Za-z_])({key}|{camel})(?![A-Za-z_])", reason) is not None
