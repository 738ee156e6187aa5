"""What the shipped model is made from: labels, which recordings teach what, and which are kept apart.

A corpus is a folder with a ``manifest.csv``; see :mod:`tocsin_models.corpus`. The names of its labels
and sources below are those of the corpus that trained ``sentry 1.0.0``. Recordings that are named here
by their last ten digits were left out, or counted as something else, after listening with YAMNet, because
what they are called is not what is heard in them.
"""

from collections.abc import Mapping

from tocsin_models.corpus import Clip, Split

LABELS = (
    "smoke_alarm",
    "co_alarm",
    "evacuation_siren",
    "emergency_siren",
    "vehicle_horn",
    "reversing_beeper",
    "glass_breaking",
    "gunshot_or_explosion",
    "scream",
    "chainsaw_or_power_tool",
    "machine_alarm_beep",
    "engine",
    "dog_bark",
    "crying",
    "phone_or_door_bell",
    "knock",
    "speech",
    "background",
)
"""Outputs of the model, in this order."""
EVENTS = LABELS[:-1]
"""Labels that a sound can have; ``background`` means that none of them is there."""
RECOGNISED_ONLY = frozenset({"gunshot_or_explosion", "knock", "speech", "background"})
"""Labels that never become detections: speech and background, which concern nobody, and shots and knocks, of
which there was too little to learn from. On recordings that were kept apart 4 of 43 shots and 2 of 8 knocks
were told, beside 19 false ones in 2.7 h of streams."""
TOLD = tuple(label for label in LABELS if label not in RECOGNISED_ONLY)
"""Labels that become detections."""

NOT_STANDARD = frozenset(
    {
        "glass_breaking",
        "gunshot_or_explosion",
        "scream",
        "chainsaw_or_power_tool",
        "engine",
        "dog_bark",
        "crying",
        "knock",
    }
)
"""Events whose made sounds follow nature and no standard, so that some are less like it than others."""

LABEL_OF = {
    "siren": "emergency_siren",
    "firetruck": "emergency_siren",
    "car_horn": "vehicle_horn",
    "glass_breaking": "glass_breaking",
    "explosion": "gunshot_or_explosion",
    "fireworks": "gunshot_or_explosion",
    "gun_shot": "gunshot_or_explosion",
    "chainsaw": "chainsaw_or_power_tool",
    "drilling": "chainsaw_or_power_tool",
    "tree-cutting": "chainsaw_or_power_tool",
    "saw": "chainsaw_or_power_tool",
    "clock_alarm": "machine_alarm_beep",
    "alarm_beep": "machine_alarm_beep",
    "engine": "engine",
    "engine_idling": "engine",
    "truck": "engine",
    "bus": "engine",
    "planelow": "engine",
    "dog": "dog_bark",
    "dog_bark": "dog_bark",
    "crying_baby": "crying",
    "door_wood_knock": "knock",
    "speech": "speech",
}
"""Labels of the corpus that are events here; every other one is background."""

RESPONSES = frozenset({"RIR", "IR"})
"""Labels of the corpus that are no sounds but impulse responses of rooms."""

BEDS = frozenset(
    {
        "ambience",
        "engine_sfx",
        "rain",
        "wind",
        "sea_waves",
        "washing_machine",
        "vacuum_cleaner",
        "helicopter",
        "crackling_fire",
        "train",
    }
)
"""Labels of the corpus that go on evenly enough to lie under an event as its background."""

SIRENS = frozenset({"evacuation_siren", "emergency_siren"})
DOUBTS: Mapping[str, frozenset[str]] = {
    "ambience": frozenset({"speech", "engine"}),
    "game_sfx": frozenset({"speech", "gunshot_or_explosion", "engine"}),
    "engine_sfx": frozenset({"engine", "chainsaw_or_power_tool"}),
    "train": frozenset({"vehicle_horn", "engine"}),
    "helicopter": frozenset({"engine", "chainsaw_or_power_tool"}),
    "airplane": frozenset({"engine"}),
    "vacuum_cleaner": frozenset({"engine", "chainsaw_or_power_tool"}),
    "washing_machine": frozenset({"engine"}),
    "chainsaw": frozenset({"engine"}),
    "tree-cutting": frozenset({"engine"}),
    "planelow": frozenset({"chainsaw_or_power_tool"}),
    "siren": SIRENS,
    "firetruck": SIRENS | {"vehicle_horn"},
    "car_horn": frozenset({"engine"}),
    "thunderstorm": frozenset({"gunshot_or_explosion"}),
    "laughing": frozenset({"speech"}),
    "crying_baby": frozenset({"speech", "scream"}),
    "clapping": frozenset({"speech"}),
    "clock_alarm": frozenset({"phone_or_door_bell"}),
}
"""What may also be heard in clips of a corpus label: such a label is neither taught nor denied there."""

DOUBTED_ABOVE = 0.08
"""A label that YAMNet gives this score anywhere in a recording is neither taught nor denied there …"""
PROMOTED_ABOVE = 0.5
"""… and with this score it is what the recording teaches, where its source may be promoted to it."""
PROMOTED: Mapping[str, frozenset[str]] = {
    "game_sfx": frozenset({"gunshot_or_explosion", "engine", "chainsaw_or_power_tool"}),
    "ambience": frozenset({"engine", "chainsaw_or_power_tool"}),
    "engine_sfx": frozenset({"engine"}),
}
"""Labels of the corpus that say little of what is heard, and what YAMNet may find in such clips."""

HEARD_AS = {
    "d6f4952170": "emergency_siren",
    "6805c84123": "emergency_siren",
    "f05238d4a4": "emergency_siren",
    "68d7ee43f0": "emergency_siren",
    "fa25709a58": "evacuation_siren",
    "428d7fa501": "evacuation_siren",
    "094c25dbcc": "evacuation_siren",
    "e015c1d4bd": "evacuation_siren",
}
"""Clips whose corpus label says less than what is plainly heard."""

LEFT_OUT = {
    "060467b8ff": "music with a siren",
    "ea753a6be6": "a telephone or an alarm",
    "7d528cbbe1": "an alarm or a bird",
    "eecbd5a1a1": "a bell or a cash register",
    "e63fdf9a9c": "called a car horn, sounds like a fire alarm",
    "e7951524dd": "called a car horn, none is heard over the rain",
    "17b6ef9026": "called a car horn, none is heard over a bus",
    "0effee87f6": "called a car horn, none is heard over the noise",
    "cd51c7e23a": "called a car horn, sounds like a boat",
    "631241117b": "a horn",
    "7a5e010bb9": "something breaks",
    "738e8da091": "something breaks",
    "ad9374896d": "something breaks",
    "fa6db6ce28": "something breaks",
    "2a3631dafb": "something breaks",
    "53ff8ac8d4": "a bottle that breaks or clinks",
    "52cd39c2fe": "a whistle of a train",
}
"""Clips that would teach something wrong."""
AMBIGUOUS = frozenset(
    {
        "boat-horn",
        "buzzsaw",
        "crossing",
        "diesel",
        "glass",
        "jackhammer",
        "kettle",
        "steam",
        "xing_ped",
        "xing_school",
    }
)
"""Corpus labels that lie between an event and background; never trained on."""

EVALUATION_GROUPS = frozenset({"icu_session", "ast_ru", "ui_sounds"})
"""Groups that are heard in the evaluation only, besides fold 4 of ESC-50."""
EVALUATION_FOLDS = {"esc50_union": "fold4", "us8k_part": "fold2"}
"""Folds, by source, whose clips, and every other clip of their groups, are heard in the evaluation only."""
VALIDATION_GROUPS = frozenset({"ast_fr", "searchandrescue", "speech_klettres_syllab"})
"""Groups that set the thresholds, besides every seventh group of background."""
SPARED = frozenset({"background", "chainsaw_or_power_tool", "dog_bark", "crying"})
"""Labels with so many recordings that every seventh group can be spared for validation."""
UNCLEAR_LICENCES = frozenset({"max_samples"})
"""Sources whose licence is not stated clip by clip: never trained on."""

YAMNET_CLASSES: Mapping[str, tuple[int, ...]] = {
    "smoke_alarm": (393, 394),
    "co_alarm": (393,),
    "evacuation_siren": (391,),
    "emergency_siren": (316, 317, 318, 319),
    "vehicle_horn": (302, 303, 312),
    "reversing_beeper": (313,),
    "glass_breaking": (437, 464),
    "gunshot_or_explosion": (420, 421, 422, 423, 424, 426, 427, 430),
    "scream": (11,),
    "chainsaw_or_power_tool": (341, 414, 418, 419),
    "machine_alarm_beep": (382, 389, 392, 475),
    "engine": (337, 338, 342, 343, 344, 346, 347),
    "dog_bark": (69, 70, 73),
    "crying": (19, 20),
    "phone_or_door_bell": (349, 350, 383, 384, 385),
    "knock": (353,),
    "speech": (0, 1, 2, 3),
}
"""Numbers of the AudioSet classes, as YAMNet orders its 521, that say the same as a label of ours."""


def split_of(clip: Clip, evaluation_groups: frozenset[str]) -> Split | None:
    """Where ``clip`` belongs; ``None`` for one that is used nowhere.

    Only tier A is learnt from, and one group is never in two splits. Recordings of most events are too few to
    spare any for validation, where made sounds stand in for them.
    """
    if clip.tier != "A" or clip.source in UNCLEAR_LICENCES or clip.digits in LEFT_OUT:
        return None
    if clip.group in evaluation_groups:
        return Split.TEST
    if clip.label in AMBIGUOUS:
        return None
    if clip.group in VALIDATION_GROUPS:
        return Split.VALIDATION
    spared = label_of(clip) in SPARED and clip.label not in RESPONSES
    return Split.VALIDATION if spared and clip.group_number % 7 == 0 else Split.TRAIN


def only_for_thresholds(clip: Clip, evaluation_groups: frozenset[str]) -> bool:
    """Whether ``clip``, from which no weight may be learnt, may say what must not be told.

    Thresholds are few numbers, but what they are set on decides how often people are alarmed for nothing:
    the more of the world is heard then, the better.
    """
    fit = clip.label not in AMBIGUOUS | RESPONSES and clip.digits not in LEFT_OUT
    return fit and clip.tier != "A" and clip.group not in evaluation_groups


def evaluation_groups(clips: tuple[Clip, ...]) -> frozenset[str]:
    """Groups that must never be trained on."""
    return EVALUATION_GROUPS | {
        clip.group for clip in clips if clip.note.split(";")[0] == EVALUATION_FOLDS.get(clip.source)
    }


def label_of(clip: Clip) -> str:
    """Label of ``clip`` as the model knows it, by its name alone."""
    return HEARD_AS.get(clip.digits, LABEL_OF.get(clip.label, "background"))


def taught_by(clip: Clip, opinion: Mapping[str, float]) -> tuple[str, frozenset[str]]:
    """(label, labels in doubt) of ``clip``, where YAMNet's scores by label are ``opinion``; may be empty."""
    label = label_of(clip)
    doubts = DOUBTS.get(clip.label, frozenset()) | {
        name for name, score in opinion.items() if score >= DOUBTED_ABOVE
    }
    found = {name: opinion.get(name, 0.0) for name in PROMOTED.get(clip.label, ())}
    best = max(found, key=lambda name: found[name], default=label)
    if label == "background" and found.get(best, 0.0) >= PROMOTED_ABOVE:
        label = best
    return label, frozenset(doubts - {label})
