//! What goes into statements and comes out of rows, whichever database it is.

use super::StoreError;

/// A value as databases know it. A truth value is an integer, 0 or 1; PostgreSQL has a type of
/// its own for it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'a> {
    /// None.
    Null,
    /// A number, or a truth value.
    Integer(i64),
    /// A text.
    Text(&'a str),
    /// Bytes.
    Bytes(&'a [u8]),
}

/// Something that a statement can be given.
pub trait ToValue {
    /// It, as the database takes it.
    fn to_value(&self) -> Value<'_>;
}

/// Something that a column can hold.
pub trait FromValue: Sized {
    /// What it must be.
    const EXPECTED: &'static str;

    /// It, unless the column holds something else.
    fn from_value(value: Value<'_>) -> Option<Self>;
}

/// A row of an answer.
pub enum Row<'a> {
    /// SQLite's.
    Sqlite(&'a rusqlite::Row<'a>),
    /// PostgreSQL's.
    Postgres(&'a tokio_postgres::Row),
}

impl Row<'_> {
    /// What is in the column with this number, from 0.
    pub fn get<T: FromValue>(&self, column: usize) -> Result<T, StoreError> {
        let found = match self {
            Self::Sqlite(row) => super::sqlite::column(row, column)?,
            Self::Postgres(row) => row.try_get(column)?,
        };
        let unreadable = StoreError::Unreadable { column, expected: T::EXPECTED };
        T::from_value(found).ok_or(unreadable)
    }
}

/// What a statement is given for `?1`, `?2` and so on.
macro_rules! params {
    ($($value:expr),* $(,)?) => { &[$($crate::store::ToValue::to_value(&$value)),*] };
}
pub(crate) use params;

macro_rules! integers {
    ($($integer:ty),*) => { $(
        impl ToValue for $integer {
            fn to_value(&self) -> Value<'_> {
                Value::Integer(i64::from(*self))
            }
        }

        impl FromValue for $integer {
            const EXPECTED: &'static str = "a number of its size";

            fn from_value(value: Value<'_>) -> Option<Self> {
                match value {
                    Value::Integer(number) => Self::try_from(number).ok(),
                    _ => None,
                }
            }
        }
    )* };
}

integers!(i64, u32, u16);

impl ToValue for bool {
    fn to_value(&self) -> Value<'_> {
        Value::Integer(i64::from(*self))
    }
}

impl FromValue for bool {
    const EXPECTED: &'static str = "a truth value";

    fn from_value(value: Value<'_>) -> Option<Self> {
        match value {
            Value::Integer(number) => Some(number != 0),
            _ => None,
        }
    }
}

impl ToValue for str {
    fn to_value(&self) -> Value<'_> {
        Value::Text(self)
    }
}

impl ToValue for String {
    fn to_value(&self) -> Value<'_> {
        Value::Text(self)
    }
}

impl FromValue for String {
    const EXPECTED: &'static str = "a text";

    fn from_value(value: Value<'_>) -> Option<Self> {
        match value {
            Value::Text(text) => Some(text.to_owned()),
            _ => None,
        }
    }
}

impl ToValue for [u8] {
    fn to_value(&self) -> Value<'_> {
        Value::Bytes(self)
    }
}

impl ToValue for Vec<u8> {
    fn to_value(&self) -> Value<'_> {
        Value::Bytes(self)
    }
}

impl FromValue for Vec<u8> {
    const EXPECTED: &'static str = "bytes";

    fn from_value(value: Value<'_>) -> Option<Self> {
        match value {
            Value::Bytes(bytes) => Some(bytes.to_vec()),
            _ => None,
        }
    }
}

impl<T: ToValue + ?Sized> ToValue for &T {
    fn to_value(&self) -> Value<'_> {
        (**self).to_value()
    }
}

impl<T: ToValue> ToValue for Option<T> {
    fn to_value(&self) -> Value<'_> {
        self.as_ref().map_or(Value::Null, T::to_value)
    }
}

impl<T: FromValue> FromValue for Option<T> {
    const EXPECTED: &'static str = T::EXPECTED;

    fn from_value(value: Value<'_>) -> Option<Self> {
        match value {
            Value::Null => Some(None),
            value => T::from_value(value).map(Some),
        }
    }
}
