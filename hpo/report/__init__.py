"""From a study to one HTML page, without torch: summary -> findings and figures -> page."""
