"""The browser proves a typed address by itself: the Email Verification Protocol on the front page."""

from __future__ import annotations

import contextlib
import json
import shutil
import urllib.parse
import urllib.request

import pytest
from pyevp import PROFILES, Verifier
from selenium import webdriver
from selenium.webdriver.chrome.service import Service as Driver
from selenium.webdriver.common.keys import Keys
from support.servers.services import Service, free_port

from persona_profile.development.chromium import switches
from persona_profile.development.email_verification_issuer import (
    DevelopmentEmailIssuer,
)
