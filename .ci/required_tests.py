"""Fail where a pytest report (JUnit XML) shows that a test was skipped for want of something CI must have."""

import sys
from xml.etree import ElementTree as ET

REQUIRED = ("FACEFIT_TEST_DATA", "OpenGL", "llvmpipe", "xvfb-run", "chromium", "FACEFIT_NODE_MODULES")

skipped = []
for case in ET.parse(sys.argv[1]).iter("testcase"):
    for skip in case.iter("skipped"):
        reason = (skip.get("message") or "") + (skip.text or "")
        if any(word in reason for word in REQUIRED):
            skipped.append(f"{case.get('classname')}.{case.get('name')}: {skip.get('message')}")
if skipped:
    sys.exit("skipped, though CI must run them:\n  " + "\n  ".join(skipped))
