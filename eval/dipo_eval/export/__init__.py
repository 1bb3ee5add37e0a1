"""Results in other tools' formats, which `formats` names."""
