"""How good a model is, and how sure of that one may be: figures with intervals, on data nobody trained on.

| file | judges |
|---|---|
| segmentation.py | pictures with masks: Dice, lesions found, false marks, calibration |
| video.py | moving pictures: delays, missed lesions, false alerts, and the curve behind the operating point |
| classes.py | the heads that name something |
| robustness.py | pictures made worse on purpose |
| runner.py | the files themselves: run, size, speed |

`subjects.py` turns the command line into pictures, `report.py` into the JSON objects, `tables.py` and `page.py` show.
"""
