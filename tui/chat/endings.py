"""How answers end, in words."""

ENDINGS = {
    "cancelled": "stopped; what came is kept",
    "length": "cut at the answer's token limit",
    "interrupted": "Hone ended in the middle of this answer; what came is kept",
    "repetition": "stopped: the model began to repeat itself",
    "error": "broken off; what came is kept",
}
