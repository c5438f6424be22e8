"""The languages of the multilingual families, in the order of their ids, for folders that do not list them.

mBART-25: Liu et al. 2020, table 1; mBART-50: Tang et al. 2020, table 1; M2M-100: Fan et al. 2021, table 1. NLLB's
folders always list theirs.
"""

from __future__ import annotations

import re


def _codes(text: str) -> list[str]:
    return text.split()


MBART = _codes(
    "ar_AR cs_CZ de_DE en_XX es_XX et_EE fi_FI fr_XX gu_IN hi_IN it_IT ja_XX kk_KZ ko_KR lt_LT lv_LV my_MM ne_NP nl_XX "
    "ro_RO ru_RU si_LK tr_TR vi_VN zh_CN"
)
MBART50 = [
    *MBART,
    *_codes(
        "af_ZA az_AZ bn_IN fa_IR he_IL hr_HR id_ID ka_GE km_KH mk_MK ml_IN mn_MN mr_IN pl_PL ps_AF pt_XX sv_SE sw_KE "
        "ta_IN te_IN th_TH tl_XX uk_UA ur_PK xh_ZA gl_ES sl_SI"
    ),
]
M2M100 = _codes(
    "af am ar ast az ba be bg bn br bs ca ceb cs cy da de el en es et fa ff fi fr fy ga gd gl gu ha he hi hr ht hu hy "
    "id ig ilo is it ja jv ka kk km kn ko lb lg ln lo lt lv mg mk ml mn mr ms my ne nl no ns oc or pa pl ps pt ro ru "
    "sd si sk sl so sq sr ss su sv sw ta th tl tn tr uk ur uz vi wo xh yi yo zh zu"
)
WMT21 = _codes("en ha is ja cs ru zh de")

# The pattern of each family's language tokens.
CODES = {
    "mbart": re.compile(r"([a-z]{2}_[A-Z]{2})"),
    "mbart50": re.compile(r"([a-z]{2}_[A-Z]{2})"),
    "nllb": re.compile(r"([a-z]{3}_[A-Z][a-z]{3})"),
    "m2m_100": re.compile(r"__([a-z]{2,3})__"),
}
