"""What repeated trainings prove: means with intervals, gains, the winner. No pandas: `list` and `show` say it, too."""
