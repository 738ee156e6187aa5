"""What the shipped model is made from: labels, which recordings teach what, and which are kept apart.

A corpus is a folder with a ``manifest.csv``; see :mod:`tocsin_models.corpus`. The names of its labels
and sources below are those of the corpus that trained ``sentry 0.1.0``. Recordings that are named here
by their last ten digits were left out, or counted as something else, after listening with YAMNet, because
what they are called is not what is heard in them.
"""

from tocsin_models.corpus import Clip, Split

LABELS = ("smoke_alarm", "siren", "glass_breaking", "vehicle_horn", "alarm_beep", "speech", "background")
"""Outputs of the model, in this order."""
EVENTS = LABELS[:-1]
"""Labels that a sound can have; ``background`` means that none of them is there."""
TOLD = LABELS[:5]
"""Labels that become detections; speech and background are recognised only."""

LABEL_OF = {
    "siren": "siren",
    "car_horn": "vehicle_horn",
    "glass_breaking": "glass_breaking",
    "clock_alarm": "alarm_beep",
    "alarm_beep": "alarm_beep",
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
        "engine",
    }
)
"""Labels of the corpus that go on evenly enough to lie under an event as its background."""

DOUBTS = {
    "ambience": frozenset({"speech"}),
    "game_sfx": frozenset({"speech"}),
    "train": frozenset({"vehicle_horn"}),
    "laughing": frozenset({"speech"}),
    "crying_baby": frozenset({"speech"}),
    "clapping": frozenset({"speech"}),
}
"""What may also be heard in clips of a corpus label: such a label is neither taught nor denied there."""

HEARD_AS = {"d6f4952170": "siren", "6805c84123": "siren", "f05238d4a4": "siren", "68d7ee43f0": "siren"}
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
    {"boat-horn", "crossing", "diesel", "steam", "bus", "glass", "kettle", "xing_ped", "xing_school"}
)
"""Corpus labels that lie between an event and background; never trained on."""

EVALUATION_GROUPS = frozenset({"icu_session", "ast_ru", "ui_sounds"})
"""Groups that are heard in the evaluation only, besides fold 4 of ESC-50."""
EVALUATION_NOTE = "fold4"
"""Clips with this note, and every other clip of their groups, are heard in the evaluation only."""
VALIDATION_GROUPS = frozenset({"ast_fr", "searchandrescue", "speech_klettres_syllab"})
"""Groups that set the thresholds, besides every seventh group of background."""
UNCLEAR_LICENCES = frozenset({"max_samples"})
"""Sources whose licence is not stated clip by clip: never trained on."""


def split_of(clip: Clip, evaluation_groups: frozenset[str]) -> Split | None:
    """Where ``clip`` belongs; ``None`` for one that is used nowhere.

    Only tier A is used, and one group is never in two splits. Recordings of events are too few to spare
    any for validation, where made sounds stand in for them.
    """
    if clip.tier != "A" or clip.source in UNCLEAR_LICENCES or clip.digits in LEFT_OUT:
        return None
    if clip.group in evaluation_groups:
        return Split.TEST
    if clip.label in AMBIGUOUS:
        return None
    if clip.group in VALIDATION_GROUPS:
        return Split.VALIDATION
    background = label_of(clip) == "background" and clip.label not in RESPONSES
    return Split.VALIDATION if background and clip.group_number % 7 == 0 else Split.TRAIN


def evaluation_groups(clips: tuple[Clip, ...]) -> frozenset[str]:
    """Groups that must never be trained on."""
    return EVALUATION_GROUPS | {clip.group for clip in clips if clip.note == EVALUATION_NOTE}


def label_of(clip: Clip) -> str:
    """Label of ``clip`` as the model knows it."""
    return HEARD_AS.get(clip.digits, LABEL_OF.get(clip.label, "background"))
