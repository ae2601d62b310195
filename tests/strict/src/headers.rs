//! A list of headers as a host keeps it: in order, as bytes, names as they were sent.

/// Headers, in order. Neither names nor values need be text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Headers(Vec<(Vec<u8>, Vec<u8>)>);

impl Headers {
    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.0.iter().map(|(name, value)| (name.as_slice(), value.as_slice()))
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The first value of `name`, letter case ignored.
    #[must_use]
    pub fn first(&self, name: impl AsRef<[u8]>) -> Option<&[u8]> {
        self.0
            .iter()
            .find(|(n, _)| n.eq_ignore_ascii_case(name.as_ref()))
            .map(|(_, v)| v.as_slice())
    }

    /// All values of `name`, letter case ignored.
    #[must_use]
    pub fn all(&self, name: impl AsRef<[u8]>) -> Vec<&[u8]> {
        let same = |n: &[u8]| n.eq_ignore_ascii_case(name.as_ref());
        self.0.iter().filter(|(n, _)| same(n)).map(|(_, v)| v.as_slice()).collect()
    }

    /// The first value of `name`, if it is text.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.first(name).and_then(|value| std::str::from_utf8(value).ok())
    }

    /// Adds a header at the end.
    pub fn push(&mut self, name: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) {
        self.0.push((name.into(), value.into()));
    }

    /// Replaces the first value of `name`, or adds one.
    pub(crate) fn replace_first(&mut self, name: &[u8], value: &[u8]) {
        match self.0.iter_mut().find(|(n, _)| n.eq_ignore_ascii_case(name)) {
            Some((_, found)) => *found = value.to_vec(),
            None => self.push(name, value),
        }
    }

    /// Replaces all values of `name` by one.
    pub(crate) fn replace(&mut self, name: &[u8], value: &[u8]) {
        let at = self.0.iter().position(|(n, _)| n.eq_ignore_ascii_case(name));
        self.remove(name);
        let at = at.unwrap_or(self.0.len()).min(self.0.len());
        self.0.insert(at, (name.to_vec(), value.to_vec()));
    }

    /// Removes all values of `name`; whether there were any.
    pub(crate) fn remove(&mut self, name: &[u8]) -> bool {
        let before = self.0.len();
        self.0.retain(|(n, _)| !n.eq_ignore_ascii_case(name));
        self.0.len() != before
    }

    /// The names in lower case, as HTTP/2 and Envoy want them.
    pub(crate) fn lower_case(&mut self) {
        for (name, _) in &mut self.0 {
            name.make_ascii_lowercase();
        }
    }

    /// As the ABI passes a map: a count, the sizes, then names and values with a NUL after each.
    pub(crate) fn serialize(&self) -> Vec<u8> {
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX).to_le_bytes();
        let mut bytes = number(self.0.len()).to_vec();
        for (name, value) in &self.0 {
            bytes.extend(number(name.len()));
            bytes.extend(number(value.len()));
        }
        for (name, value) in &self.0 {
            bytes.extend(name);
            bytes.push(0);
            bytes.extend(value);
            bytes.push(0);
        }
        bytes
    }

    /// Reads what [`serialize`](Self::serialize) wrote.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let number = |at: usize| {
            let (number, _) = bytes.get(at..)?.split_first_chunk::<4>()?;
            usize::try_from(u32::from_le_bytes(*number)).ok()
        };
        if bytes.is_empty() {
            return Some(Self::default());
        }
        let count = number(0)?;
        let mut at = count.checked_mul(8)?.checked_add(4)?;
        let mut take = |length: usize| {
            let end = at.checked_add(length)?;
            let taken = bytes.get(at..end)?.to_vec();
            at = end.checked_add(1)?;
            Some(taken)
        };
        let mut headers = Self::default();
        for sizes in (0..count).map(|index| 4 + index * 8) {
            let name = take(number(sizes)?)?;
            let value = take(number(sizes + 4)?)?;
            headers.0.push((name, value));
        }
        Some(headers)
    }
}

impl<N: Into<Vec<u8>>, V: Into<Vec<u8>>> FromIterator<(N, V)> for Headers {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        Self(pairs.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}
