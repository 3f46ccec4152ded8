"""Licences known to let anybody hand on and use what is under them, for any purpose, in SPDX's names.

Only what is listed is shared. SPDX names hundreds more, of which many forbid commerce or derived works without
saying so in their names; to allow another one, read it and add it here.
"""

_SOFTWARE = """
0BSD AFL-3.0 Apache-1.1 Apache-2.0 Artistic-2.0 BlueOak-1.0.0 BSD-1-Clause BSD-2-Clause
BSD-2-Clause-Patent BSD-2-Clause-Views BSD-3-Clause BSD-3-Clause-Attribution BSD-3-Clause-Clear BSD-3-Clause-LBNL
BSD-4-Clause BSD-4-Clause-UC BSL-1.0 ECL-1.0 ECL-2.0 HPND ICU ISC MIT MIT-0 MIT-CMU MIT-Modern-Variant MS-PL
MulanPSL-1.0 MulanPSL-2.0 NCSA NIST-PD NTP OpenSSL PHP-3.01 PostgreSQL PSF-2.0 Python-2.0 UPL-1.0 Unicode-3.0
Unicode-DFS-2015 Unicode-DFS-2016 Unlicense W3C WTFPL X11 Zlib ZPL-2.0 ZPL-2.1
"""
_COPYLEFT = """
AGPL-3.0-only AGPL-3.0-or-later CDDL-1.0 CDDL-1.1 CECILL-2.1 CECILL-B CECILL-C CPL-1.0 EPL-1.0 EPL-2.0 EUPL-1.1
EUPL-1.2 GFDL-1.2-no-invariants-only GFDL-1.2-no-invariants-or-later GFDL-1.3-no-invariants-only
GFDL-1.3-no-invariants-or-later GPL-1.0-only GPL-1.0-or-later GPL-2.0-only GPL-2.0-or-later GPL-3.0-only
GPL-3.0-or-later IPL-1.0 LGPL-2.0-only LGPL-2.0-or-later LGPL-2.1-only LGPL-2.1-or-later LGPL-3.0-only
LGPL-3.0-or-later MPL-1.1 MPL-2.0 MPL-2.0-no-copyleft-exception MS-RL OSL-3.0
"""
# Creative Commons without NonCommercial and NoDerivatives, Open Data Commons, the Linux Foundation's and governments'.
_DATA = """
CC0-1.0 CC-BY-1.0 CC-BY-2.0 CC-BY-2.5 CC-BY-2.5-AU CC-BY-3.0 CC-BY-3.0-AT CC-BY-3.0-AU CC-BY-3.0-DE CC-BY-3.0-IGO
CC-BY-3.0-NL CC-BY-3.0-US CC-BY-4.0 CC-BY-SA-1.0 CC-BY-SA-2.0 CC-BY-SA-2.0-UK CC-BY-SA-2.1-JP CC-BY-SA-2.5
CC-BY-SA-3.0 CC-BY-SA-3.0-AT CC-BY-SA-3.0-DE CC-BY-SA-3.0-IGO CC-BY-SA-4.0 CC-PDDC CC-PDM-1.0 CC-SA-1.0
CDLA-Permissive-1.0 CDLA-Permissive-2.0 CDLA-Sharing-1.0 DL-DE-BY-2.0 DL-DE-ZERO-2.0 etalab-2.0 LAL-1.2 LAL-1.3
NLOD-1.0 NLOD-2.0 O-UDA-1.0 ODbL-1.0 ODC-By-1.0 OGDL-Taiwan-1.0 OGL-Canada-2.0 OGL-UK-1.0 OGL-UK-2.0 OGL-UK-3.0
PDDL-1.0
"""
OPEN = frozenset(f"{_SOFTWARE} {_COPYLEFT} {_DATA}".split())
