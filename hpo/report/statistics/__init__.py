"""The statistics that findings and figures use, each with its source."""
