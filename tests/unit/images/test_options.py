from __future__ import annotations

import json

from persona_profile.images import Crop, Encoding, Limits, PictureOptions


def test_crops_and_options_cross_as_json():
    """A worker reads the crop and the options of the service as they were."""
    options = PictureOptions(Limits(3, 2, 1), Encoding(("jpeg", "avif"), {"jpeg": 7}, "fast"), (32, 64))
    assert PictureOptions.from_json(json.loads(json.dumps(options.as_json()))) == options
    for crop in (Crop(1, 2, 3), Crop(1, 2, 3, (40, 50))):
        assert Crop.from_json(json.loads(json.dumps(crop.as_json()))) == crop
