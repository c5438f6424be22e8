"""Languages that models commonly name: ISO 639-1 code, ISO 639-3 codes, English name (iso639-3.sil.org)."""

from __future__ import annotations

_TABLE = """
af afr Afrikaans
am amh Amharic
an arg Aragonese
ar ara,arb Arabic
as asm Assamese
az aze,azj Azerbaijani
be bel Belarusian
bg bul Bulgarian
bn ben Bengali
br bre Breton
bs bos Bosnian
ca cat Catalan
cs ces Czech
cy cym Welsh
da dan Danish
de deu German
dz dzo Dzongkha
el ell Greek
en eng English
eo epo Esperanto
es spa Spanish
et est,ekk Estonian
eu eus Basque
fa fas,pes Persian
fi fin Finnish
fo fao Faroese
fr fra French
ga gle Irish
gl glg Galician
gu guj Gujarati
ha hau Hausa
he heb Hebrew
hi hin Hindi
hr hrv Croatian
ht hat Haitian Creole
hu hun Hungarian
hy hye Armenian
id ind Indonesian
ig ibo Igbo
is isl Icelandic
it ita Italian
ja jpn Japanese
jv jav Javanese
ka kat Georgian
kk kaz Kazakh
km khm Khmer
kn kan Kannada
ko kor Korean
ku kur,kmr Kurdish
ky kir Kyrgyz
la lat Latin
lb ltz Luxembourgish
lo lao Lao
lt lit Lithuanian
lv lav,lvs Latvian
mg mlg,plt Malagasy
mi mri Maori
mk mkd Macedonian
ml mal Malayalam
mn mon,khk Mongolian
mr mar Marathi
ms msa,zsm Malay
mt mlt Maltese
my mya Burmese
nb nob Norwegian Bokmål
ne nep,npi Nepali
nl nld Dutch
nn nno Norwegian Nynorsk
no nor Norwegian
oc oci Occitan
or ori,ory Odia
pa pan Punjabi
pl pol Polish
ps pus,pbt Pashto
pt por Portuguese
qu que,quy Quechua
ro ron Romanian
ru rus Russian
rw kin Kinyarwanda
sd snd Sindhi
se sme Northern Sami
si sin Sinhala
sk slk Slovak
sl slv Slovenian
so som Somali
sq sqi,als Albanian
sr srp Serbian
sv swe Swedish
sw swa,swh Swahili
ta tam Tamil
te tel Telugu
tg tgk Tajik
th tha Thai
tk tuk Turkmen
tl tgl Filipino
tr tur Turkish
tt tat Tatar
ug uig Uyghur
uk ukr Ukrainian
ur urd Urdu
uz uzb,uzn Uzbek
vi vie Vietnamese
vo vol Volapük
wa wln Walloon
xh xho Xhosa
yi yid,ydd Yiddish
yo yor Yoruba
zh zho Chinese
zu zul Zulu
"""
_ROWS = [line.split(" ", 2) for line in _TABLE.strip().splitlines()]
NAMES = {code: name for code, _, name in _ROWS}
SHORT = {long: code for code, longs, _ in _ROWS for long in longs.split(",")}


def name_of(code: str) -> str:
    """The English name of a language code, or the code itself: `de`, `de-AT` and `deu_Latn` are German."""
    return NAMES.get(short_code(code), code)


def short_code(code: str) -> str:
    """The ISO 639-1 code of `de-AT`, `de_DE` or `deu_Latn`; the lower-case code where there is none."""
    base = code.replace("-", "_").partition("_")[0].lower()
    return SHORT.get(base, base) if base in SHORT or base in NAMES else code.lower()
