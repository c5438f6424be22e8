"""The conformance kit: laws that every attention must satisfy, checked by computing the same result in two ways.

    table = check_attention(Fade, role="decoder")    # all that `build_rule` takes (models/attentions.py)
    print(table)                                     # a law a row: pass, fail or skip, the largest difference, where

The laws are in `laws.LAWS`. They run on tiny units and networks in float64 with fixed seeds: a second or two a role.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from antiphon.config import ROLES
from antiphon.conformance.laws import FIRST, LAWS, Law
from antiphon.conformance.meter import DifferenceMeter, Skip
from antiphon.conformance.report import BrokenLaw, LawResult, LawTable
from antiphon.conformance.subject import Subject, known
from antiphon.errors import AntiphonError, ConfigError, one_line
from antiphon.models.attentions import build_rule

__all__ = ["LAWS", "BrokenLaw", "LawResult", "LawTable", "check_attention", "examine"]

Kind = type[nn.Module] | nn.Module | Callable[..., Any] | str | Mapping[str, object]


def check_attention(attention: Kind, role: str | None = None) -> LawTable:
    """Check an attention in `role` (None: in each role that it supports) and return the table of results.

    `attention` is a ScoreRule or a Mixer or a class of these, a function of (q, k, v, mask), a torch.nn.Module that
    scores pairs, a registered name, `module:Name`, or {name: settings}. Raises AttentionError
    (a BrokenLaw, with the table) that names the law, the largest difference and where; ConfigError for a wrong name.
    """
    return examine(attention, role).require()


def examine(attention: Kind, role: str | None = None, *, laws: Sequence[Law] = LAWS) -> LawTable:
    """Like `check_attention`, but broken laws are rows of the table instead of an error."""
    subject = Subject(build_rule(attention))
    table = LawTable(subject.name)
    refused = {each: why for each in ROLES if (why := _refused(subject, each)) is not None} if role is None else {}
    if len(refused) == len(ROLES):
        raise ConfigError(f"{subject.name} takes no role: {refused[ROLES[0]]}")
    for each in ROLES if role is None else (known(role),):
        if each in refused:
            table.rows.append(
                LawResult(FIRST.name, each, "skip", FIRST.says, reason=f"not for this role: {refused[each]}")
            )
            continue
        for law in laws:
            if each in law.roles:
                table.rows.append(_verdict(law, subject, each))
                if law is FIRST and table.rows[-1].verdict == "fail":
                    break
    return table


def _refused(subject: Subject, role: str) -> str | None:
    """The reason why an attention does not support a role, if its `setup` raises an error of antiphon; else None."""
    try:
        subject.unit(role)
    except AntiphonError as error:
        return str(error)
    except Exception:
        return None  # another fault, which the first law reports
    return None


def _verdict(law: Law, subject: Subject, role: str) -> LawResult:
    meter = DifferenceMeter()
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            law.check(subject, role, meter)
    except Skip as skip:
        return LawResult(law.name, role, "skip", law.says, reason=str(skip))
    except AntiphonError as error:
        return LawResult(law.name, role, "fail", law.says, reason=one_line(error).rstrip("."))
    except Exception as error:  # a user's code may raise anything
        return LawResult(law.name, role, "fail", law.says, reason=_raised(error))
    verdict = "fail" if meter.broken else "pass"
    return LawResult(law.name, role, verdict, law.says, meter.difference, meter.where)


def _raised(error: Exception) -> str:
    """The exception and its line, as text without line breaks."""
    frames = traceback.extract_tb(error.__traceback__)
    last = next((each for each in reversed(frames) if "site-packages" not in each.filename), frames[-1])
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return f"raised {text} ({last.filename.rsplit('/', 1)[-1]}:{last.lineno})"
