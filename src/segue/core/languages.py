"""Languages as the primary subtag of BCP 47, and as small numbers in columns: "pt-BR" and "por" are "pt"."""

from __future__ import annotations

import re
from functools import lru_cache

from segue.core.types import MISSING

_ISO_639 = """
    aa:aar ab:abk ae:ave af:afr ak:aka am:amh an:arg ar:ara as:asm av:ava ay:aym az:aze ba:bak be:bel bg:bul bh:bih bi:bis
    bm:bam bn:ben bo:bod:tib br:bre bs:bos ca:cat ce:che ch:cha co:cos cr:cre cs:ces:cze cu:chu cv:chv cy:cym:wel da:dan
    de:deu:ger dv:div dz:dzo ee:ewe el:ell:gre en:eng eo:epo es:spa et:est eu:eus:baq fa:fas:per ff:ful fi:fin fj:fij
    fo:fao fr:fra:fre fy:fry ga:gle gd:gla gl:glg gn:grn gu:guj gv:glv ha:hau he:heb hi:hin ho:hmo hr:hrv ht:hat hu:hun
    hy:hye:arm hz:her ia:ina id:ind ie:ile ig:ibo ii:iii ik:ipk io:ido is:isl:ice it:ita iu:iku ja:jpn jv:jav ka:kat:geo
    kg:kon ki:kik kj:kua kk:kaz kl:kal km:khm kn:kan ko:kor kr:kau ks:kas ku:kur kv:kom kw:cor ky:kir la:lat lb:ltz lg:lug
    li:lim ln:lin lo:lao lt:lit lu:lub lv:lav mg:mlg mh:mah mi:mri:mao mk:mkd:mac ml:mal mn:mon mr:mar ms:msa:may mt:mlt
    my:mya:bur na:nau nb:nob nd:nde ne:nep ng:ndo nl:nld:dut nn:nno no:nor nr:nbl nv:nav ny:nya oc:oci oj:oji om:orm
    or:ori os:oss pa:pan pi:pli pl:pol ps:pus pt:por qu:que rm:roh rn:run ro:ron:rum ru:rus rw:kin sa:san sc:srd sd:snd
    se:sme sg:sag si:sin sk:slk:slo sl:slv sm:smo sn:sna so:som sq:sqi:alb sr:srp ss:ssw st:sot su:sun sv:swe sw:swa
    ta:tam te:tel tg:tgk th:tha ti:tir tk:tuk tl:tgl tn:tsn to:ton tr:tur ts:tso tt:tat tw:twi ty:tah ug:uig uk:ukr ur:urd
    uz:uzb ve:ven vi:vie vo:vol wa:wln wo:wol xh:xho yi:yid yo:yor za:zha zh:zho:chi zu:zul
"""
"""Every code of two letters with those of three that mean the same (ISO 639-1; 639-2/T and /B)."""
_SHORT = {code: short for short, *rest in (word.split(":") for word in _ISO_639.split()) for code in (short, *rest)}
_OLD = {"iw": "he", "in": "id", "ji": "yi", "jw": "jv", "sh": "sr", "mo": "ro"}
"""Codes that were withdrawn, and what the registry of BCP 47 says in place of them."""
_TAG = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{1,8})*")
SILENT = frozenset({"und", "mis", "mul", "zxx"})
"""Undetermined, uncoded, several, no words at all: a tag that may be stored and tells no language."""
LETTERS = 27


def primary(text: str) -> str | None:
    """The primary language of a BCP 47 tag in its shortest form, lower case; None for what is no such tag.

    Codes of two letters must be in ISO 639-1; of those with three, every one is taken, since ISO 639-3 has some 7,900.

    >>> primary("pt-BR"), primary("eng"), primary("yue"), primary("xx"), primary("English")
    ('pt', 'en', 'yue', None, None)
    """
    if not _TAG.fullmatch(text):
        return None
    first = text.partition("-")[0].lower()
    first = _OLD.get(first, first)
    return _SHORT.get(first, first if len(first) == 3 else None)


@lru_cache(maxsize=16_384)
def language_code(tag: str | None) -> int:
    """The number of a primary tag in a column, 0 to 19,682: its letters as digits; MISSING for none and for those of SILENT."""
    if not tag or tag in SILENT:
        return MISSING
    digits = [ord(letter) - 96 for letter in tag.ljust(3, "`")]
    return (digits[0] * LETTERS + digits[1]) * LETTERS + digits[2]
