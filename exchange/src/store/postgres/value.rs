//! Values as PostgreSQL takes and gives them.

use std::error::Error;

use bytes::BytesMut;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, WrongType, to_sql_checked};

use super::super::Value;

/// What is wrong with a value.
type Problem = Box<dyn Error + Sync + Send>;

const fn is_known(ty: &Type) -> bool {
    matches!(
        *ty,
        Type::BOOL
            | Type::INT2
            | Type::INT4
            | Type::INT8
            | Type::TEXT
            | Type::VARCHAR
            | Type::BYTEA
    )
}

impl ToSql for Value<'_> {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, Problem> {
        match (*self, ty) {
            (Value::Null, _) => Ok(IsNull::Yes),
            (Value::Integer(number), &Type::BOOL) => (number != 0).to_sql(ty, out),
            (Value::Integer(number), &Type::INT2) => i16::try_from(number)?.to_sql(ty, out),
            (Value::Integer(number), &Type::INT4) => i32::try_from(number)?.to_sql(ty, out),
            (Value::Integer(number), &Type::INT8) => number.to_sql(ty, out),
            (Value::Text(text), &(Type::TEXT | Type::VARCHAR)) => text.to_sql(ty, out),
            (Value::Bytes(bytes), &Type::BYTEA) => bytes.to_sql(ty, out),
            _ => Err(Box::new(WrongType::new::<Self>(ty.clone()))),
        }
    }

    fn accepts(ty: &Type) -> bool {
        is_known(ty)
    }

    to_sql_checked!();
}

impl<'a> FromSql<'a> for Value<'a> {
    fn from_sql(ty: &Type, raw: &'a [u8]) -> Result<Self, Problem> {
        Ok(match *ty {
            Type::BOOL => Self::Integer(i64::from(bool::from_sql(ty, raw)?)),
            Type::INT2 => Self::Integer(i64::from(i16::from_sql(ty, raw)?)),
            Type::INT4 => Self::Integer(i64::from(i32::from_sql(ty, raw)?)),
            Type::INT8 => Self::Integer(i64::from_sql(ty, raw)?),
            Type::BYTEA => Self::Bytes(<&[u8]>::from_sql(ty, raw)?),
            _ => Self::Text(<&str>::from_sql(ty, raw)?),
        })
    }

    fn from_sql_null(_: &Type) -> Result<Self, Problem> {
        Ok(Self::Null)
    }

    fn accepts(ty: &Type) -> bool {
        is_known(ty)
    }
}
