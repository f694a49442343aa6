"""What the hospital's systems get of a report: a PDF, a FHIR bundle, DICOM instances; and how they get it.

`case.Case` holds what is exported and refuses what does not fit together. `pdf`, `fhir` and `dicom` make bytes of it:
pure, and the same bytes for the same case, so that sending twice does no more than sending once. `send` sends.
"""
