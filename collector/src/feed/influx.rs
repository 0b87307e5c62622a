//! The InfluxDB v2 client. The only file that knows the crate.
//!
//! Its own points are not used: they leave a line break in a name as it is, and know neither batch
//! nor time-out (docs/decisions/0025). Bytes of ours go through its write call.

use std::time::Duration;

use influxdb2::api::write::TimestampPrecision;
use influxdb2::{Client, RequestError};
use tokio::runtime::{Builder, Runtime};

use super::deliver::{judge, short};
use super::{Fate, Form, Store, Target};

/// A bucket.
pub(super) struct Influx {
    client: Client,
    org: String,
    bucket: String,
    timeout: Duration,
    runtime: Runtime,
}

impl Influx {
    /// Nothing is connected yet.
    ///
    /// # Errors
    /// When no runtime can be made.
    pub(super) fn open(target: &Target) -> std::io::Result<Self> {
        let Target { url, org, bucket, token, timeout } = target.clone();
        // The configuration has checked the address; the client would panic at another.
        let client = Client::new(url, &org, token);
        let runtime = Builder::new_current_thread().enable_all().build()?;
        Ok(Self { client, org, bucket, timeout, runtime })
    }
}

impl std::fmt::Debug for Influx {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Influx").field("bucket", &self.bucket).finish_non_exhaustive()
    }
}

impl Store for Influx {
    const FORM: Form = Form::Line;

    fn write(&mut self, lines: &str) -> Fate {
        let (org, bucket) = (&self.org, &self.bucket);
        let precision = TimestampPrecision::Milliseconds;
        let body = lines.to_owned();
        let written = self.runtime.block_on(async {
            let request =
                self.client.write_line_protocol_with_precision(org, bucket, body, precision);
            tokio::time::timeout(self.timeout, request).await
        });
        match written {
            Ok(Ok(())) => Fate::Taken,
            Ok(Err(RequestError::Http { status, text })) => judge(status.as_u16(), &text),
            Ok(Err(error)) => Fate::Later { reason: short(&error.to_string()) },
            Err(_) => Fate::Later { reason: format!("no answer within {:?}", self.timeout) },
        }
    }
}
