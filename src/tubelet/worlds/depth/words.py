"""The words of captions as data: for each canonical word, the others that people use for it, the canonical first."""

COLOURS = {
    "red": ("red", "crimson", "scarlet"),
    "orange": ("orange", "tangerine"),
    "yellow": ("yellow", "lemon yellow"),
    "green": ("green", "emerald", "emerald green"),
    "cyan": ("cyan", "turquoise", "aqua"),
    "blue": ("blue", "cobalt", "royal blue"),
    "purple": ("purple", "violet"),
    "pink": ("pink", "rose"),
    "white": ("white", "pure white"),
    "gold": ("gold", "golden"),
    "silver": ("silver", "chrome"),
}
SHAPES = {
    "ball": ("ball", "ball", "sphere", "orb"),
    "cube": ("cube", "cube", "box"),
    "cylinder": ("cylinder", "cylinder", "drum", "can"),
    "cone": ("cone",),
    "block": ("block", "block", "pillar"),
}
SIZES = {
    "small": ("small", "little", "tiny"),
    "medium": ("medium", "medium-sized"),
    "large": ("large", "big", "huge"),
}
FURNITURE = {
    "wall": ("wall", "wall", "panel", "board"),
    "ramp": ("ramp", "ramp", "slope", "incline"),
    "block": ("block", "block", "step", "ledge"),
}
SPEEDS = {
    "slow": ("slowly", "gently", "at a slow pace"),
    "quick": ("quickly", "fast", "rapidly", "at high speed"),
}
WAYS = {
    "left": ("to the left", "left", "leftwards", "from right to left"),
    "right": ("to the right", "right", "rightwards", "from left to right"),
    "towards": ("towards the camera", "towards us", "closer to the viewer"),
    "away": ("away", "away from the camera", "into the distance"),
}
GROUNDS = {
    "grass": ("on grass", "on the grass", "on a lawn", "in a meadow", "on a green field"),
    "sand": ("on sand", "on a beach", "on the sand", "in a desert"),
    "snow": ("on snow", "in the snow", "on a snowy field"),
    "concrete": ("on concrete", "on grey pavement", "on a concrete floor"),
    "wood": ("on a wooden floor", "on wood", "on wooden boards"),
    "tiles": ("on a {colour} tiled floor", "on {colour} tiles"),
    "water": ("on the water", "on a lake", "in the sea"),
    "plain": ("on a {colour} floor", "on a plain {colour} floor"),
    "checker": (
        "on a {colour} and {other} checkered floor",
        "on a checkerboard of {colour} and {other}",
        "on a {colour} and {other} chessboard",
    ),
}
LIGHTS = {
    "sunny": ("on a sunny day", "in sunlight", "in bright sunshine", "in daylight"),
    "grey": ("under a grey sky", "on a cloudy day", "on an overcast day"),
    "fog": ("in fog", "in mist", "on a foggy day"),
    "sunset": ("at sunset", "at dusk", "in the evening light"),
    "night": ("at night", "by moonlight", "in the night"),
    "dark room": ("in a dark room", "indoors under a lamp", "in a dim room"),
    "day to night": ("as day turns to night", "as night falls", "while it gets dark"),
}
CAMERAS = {
    "orbit": ("the camera orbits to the {side}", "the camera circles around to the {side}"),
    "closer": ("the camera moves closer", "the camera pushes in", "the camera comes nearer"),
    "back": ("the camera moves back", "the camera pulls back", "the camera retreats"),
    "pan": ("the camera pans {side}", "the camera turns to the {side}"),
    "rise": ("the camera rises", "the camera goes up", "the camera cranes up"),
    "away and back": (
        "the camera pans {side} and back again",
        "the camera looks away to the {side} and returns",
    ),
}
VERBS: dict[str, tuple[tuple[str, str], ...]] = {
    "bounces": (
        ("falls and bounces", "falling and bouncing"),
        ("drops and bounces", "dropping and bouncing"),
        ("falls to the ground and bounces back up", "falling to the ground and bouncing back up"),
    ),
    "falls": (("falls", "falling"), ("drops down", "dropping down"), ("falls down", "falling down")),
    "airborne": (("is in the air", "in the air"), ("is above the ground", "above the ground")),
    "arcs": (
        ("flies in an arc {way} and bounces", "flying in an arc {way} and bouncing"),
        ("is thrown {way} and bounces", "thrown {way} and bouncing"),
        ("sails through the air {way} and bounces", "sailing through the air {way} and bouncing"),
    ),
    "flies": (
        ("flies {way}", "flying {way}"),
        ("is thrown {way}", "thrown {way}"),
        ("sails through the air {way}", "sailing through the air {way}"),
    ),
    "rolls": (
        ("rolls{how} {way}", "rolling{how} {way}"),
        ("rolls {way}{how}", "rolling {way}{how}"),
        ("moves{how} {way}", "moving{how} {way}"),
        ("travels {way}{how}", "travelling {way}{how}"),
        ("drifts {way}{how}", "drifting {way}{how}"),
    ),
    "comes out": (
        (
            "rolls {way} behind {furniture} and comes out on the other side",
            "rolling {way} behind {furniture} and coming out on the other side",
        ),
        (
            "passes behind {furniture} {way} and reappears",
            "passing behind {furniture} {way} and reappearing",
        ),
        (
            "disappears behind {furniture} and comes out again, moving {way}",
            "disappearing behind {furniture} and coming out again, moving {way}",
        ),
    ),
    "hides": (
        ("rolls {way} behind {furniture}", "rolling {way} behind {furniture}"),
        ("disappears behind {furniture}", "disappearing behind {furniture}"),
    ),
    "nears": (
        ("rolls {way} near {furniture}", "rolling {way} near {furniture}"),
        ("moves {way} near {furniture}", "moving {way} near {furniture}"),
    ),
    "hits": (
        (
            "rolls {way} and hits {other}, which rolls away",
            "rolling {way} and hitting {other}, which rolls away",
        ),
        ("rolls into {other} and knocks it away", "rolling into {other} and knocking it away"),
        ("collides with {other}", "colliding with {other}"),
        ("bumps into {other}", "bumping into {other}"),
    ),
    "meets": (
        ("rolls {way} towards {other}", "rolling {way} towards {other}"),
        ("moves {way} towards {other}", "moving {way} towards {other}"),
    ),
    "rebounds": (
        (
            "rolls {way}, hits {furniture} and rolls back",
            "rolling {way}, hitting {furniture} and rolling back",
        ),
        ("bounces off {furniture}", "bouncing off {furniture}"),
        ("rolls into {furniture} and rebounds", "rolling into {furniture} and rebounding"),
    ),
    "reaches": (
        ("rolls {way} towards {furniture}", "rolling {way} towards {furniture}"),
        ("moves {way} towards {furniture}", "moving {way} towards {furniture}"),
    ),
    "stops": (
        ("slides {way} and stops", "sliding {way} and stopping"),
        ("glides {way} and comes to rest", "gliding {way} and coming to rest"),
    ),
    "slides": (("slides {way}", "sliding {way}"), ("glides {way}", "gliding {way}")),
    "runs out": (
        (
            "rolls down {furniture} {way} and on over the ground",
            "rolling down {furniture} {way} and on over the ground",
        ),
        ("rolls down {furniture} {way}", "rolling down {furniture} {way}"),
        ("runs down {furniture} onto the ground", "running down {furniture} onto the ground"),
    ),
    "descends": (
        ("rolls down {furniture} {way}", "rolling down {furniture} {way}"),
        ("runs down {furniture}", "running down {furniture}"),
    ),
    "on": (("is on {furniture}", "on {furniture}"),),
    "drops off": (
        (
            "rolls {way} off {furniture}, falls and bounces",
            "rolling {way} off {furniture}, falling and bouncing",
        ),
        ("rolls off {furniture} and bounces", "rolling off {furniture} and bouncing"),
    ),
    "leaves": (
        ("rolls {way} off {furniture}", "rolling {way} off {furniture}"),
        ("falls off {furniture}", "falling off {furniture}"),
    ),
    "crosses": (("rolls {way} on {furniture}", "rolling {way} on {furniture}"),),
    "swings": (
        ("swings on a rope", "swinging on a rope"),
        ("swings from a crossbar", "swinging from a crossbar"),
        ("swings like a pendulum", "swinging like a pendulum"),
    ),
    "hangs": (("hangs on a rope", "hanging on a rope"),),
    "tips": (
        ("tips over {way}", "tipping over {way}"),
        ("falls over {way}", "falling over {way}"),
        ("topples {way}", "toppling {way}"),
    ),
    "leans": (("starts to tip {way}", "starting to tip {way}"), ("leans {way}", "leaning {way}")),
    "stands": (("stands", "standing"),),
    "bobs": (
        ("bobs up and down", "bobbing up and down"),
        ("rises and sinks", "rising and sinking"),
        ("floats up and down", "floating up and down"),
    ),
    "floats": (("floats", "floating"),),
    "turns": (
        ("turns on the spot", "turning on the spot"),
        ("spins in place", "spinning in place"),
        ("rotates", "rotating"),
    ),
    "rests": (("stands still", "standing still"), ("does not move", "not moving")),
    "shows": (("is there", "there"),),
}
"""What a thing does, as "moves" and "moving"; the plainest first."""
SHADOWS = (
    "the shadow sweeps across the ground as the sun moves",
    "the shadow moves across the ground",
    "the shadow turns as the sun moves",
)
BESIDE = ("beside", "next to", "near")
OPENINGS = ("a video of {}", "a clip of {}", "a shot of {}", "there is {}", "we see {}", "{}")
STILL_OPENINGS = ("a photo of {}", "a picture of {}", "an image of {}", "there is {}", "{}")
STYLES = (
    "cinematic", "4k", "hd", "highly detailed", "realistic", "photorealistic", "beautiful", "high quality",
    "3d render", "computer graphics", "masterpiece", "trending", "wide shot", "close-up", "in slow motion",
)  # fmt: skip
STRANGERS = (
    "dog", "cat", "horse", "bird", "fish", "elephant", "man", "woman", "child", "robot", "car", "bus", "train",
    "boat", "bicycle", "apple", "flower", "tree", "balloon", "teapot", "chair", "dragon", "astronaut", "duck",
    "marble", "egg", "coin", "pumpkin", "football", "bottle",
)  # fmt: skip
"""Things that are never there: in some captions they take the place of one that is, so that no noun is unheard of."""
ELSEWHERE = (
    "in a city", "in a forest", "in space", "in a kitchen", "on a table", "on a street", "in the mountains",
    "by the ocean", "in a garden", "with people around", "in the rain", "during a party", "in a park",
)  # fmt: skip
CANONICAL = {
    word: canonical
    for table in (COLOURS, SHAPES, SIZES, SPEEDS, WAYS, LIGHTS)
    for canonical, words in table.items()
    for word in words
}
"""Each synonym's canonical word. Grounds and cameras, which have gaps to fill, are looked up in their tables."""
