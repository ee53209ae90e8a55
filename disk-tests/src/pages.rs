//! The bytes of a disk. Pages of zeros take no room.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

const PAGE: usize = 4096;

#[derive(Clone, Debug)]
pub struct Pages {
    size: u64,
    pages: HashMap<u64, Box<[u8]>>,
}

impl Pages {
    pub fn size(&self) -> u64 {
        self.size
    }

    pub fn from_file(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let size = file.metadata()?.len();
        let mut pages = HashMap::new();
        let mut page = [0; PAGE];
        for number in 0..size / PAGE as u64 {
            file.read_exact_at(&mut page, number * PAGE as u64)?;
            if page != [0; PAGE] {
                pages.insert(number, page.into());
            }
        }
        Ok(Self { size, pages })
    }

    pub fn to_file(&self, path: &Path) -> io::Result<()> {
        let file = File::create(path)?;
        file.set_len(self.size)?;
        for (number, page) in &self.pages {
            file.write_all_at(page, number * PAGE as u64)?;
        }
        Ok(())
    }

    pub fn read(&self, offset: u64, length: usize) -> Vec<u8> {
        let end = self.size.min(offset.saturating_add(length as u64));
        let mut bytes = Vec::with_capacity(length);
        let mut at = offset;
        while at < end {
            let (number, inside) = (at / PAGE as u64, at as usize % PAGE);
            let length = (PAGE - inside).min((end - at) as usize);
            match self.pages.get(&number) {
                Some(page) => bytes.extend_from_slice(&page[inside..inside + length]),
                None => bytes.resize(bytes.len() + length, 0),
            }
            at += length as u64;
        }
        bytes
    }

    pub fn write(&mut self, offset: u64, mut bytes: &[u8]) {
        let mut at = offset;
        while !bytes.is_empty() {
            let (number, inside) = (at / PAGE as u64, at as usize % PAGE);
            let (now, later) = bytes.split_at(bytes.len().min(PAGE - inside));
            let page = self.pages.entry(number);
            let page = page.or_insert_with(|| vec![0; PAGE].into());
            page[inside..inside + now.len()].copy_from_slice(now);
            at += now.len() as u64;
            bytes = later;
        }
    }
}
