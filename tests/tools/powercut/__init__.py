"""Power cuts at any moment: a disk that records, and the disks that a cut could have left.

A workload runs on a file system whose disk is a file in user space (FUSE) that logs every write
and every flush. From the log any number of disks are made as they would be found after a cut:
what was flushed is there, what was written since the last flush may be lost in any combination,
as in a drive with a volatile cache. Each is mounted, so that the file system's own recovery is a
part of what is tested.
"""
