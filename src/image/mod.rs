//! Images: archives in, layers and their records on the disk, commits out.

mod tar;
