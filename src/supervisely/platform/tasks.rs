//! What the platform keeps about us: the task's parameters, and a record that outlives the process.

use serde_json::{Map, Value, json};

use super::error::PlatformError;
use super::transport::Platform;

/// Where a serving app keeps what it has to know when it is started again after a failure.
const RESTART_FIELD: &str = "autoRestartInfo";

impl Platform {
    /// The deployment that was recorded under the task, if there is one.
    ///
    /// # Errors
    /// The platform's.
    pub async fn recorded_deployment(&self, task_id: i64) -> Result<Option<Map<String, Value>>, PlatformError> {
        let body = json!({"taskId": task_id, "fields": [RESTART_FIELD]});
        let answer: Value = self.call("tasks.data.get", &body).await?;
        // Both spellings were seen: the fields alone, and below `result`.
        let fields = answer.get("result").unwrap_or(&answer);
        let parameters = fields.get(RESTART_FIELD).and_then(|record| record.get("deployParams"));
        Ok(parameters.and_then(Value::as_object).filter(|parameters| !parameters.is_empty()).cloned())
    }

    /// Records a deployment under the task.
    ///
    /// # Errors
    /// The platform's.
    pub async fn record_deployment(&self, task_id: i64, parameters: &Value) -> Result<(), PlatformError> {
        let field = json!({"field": RESTART_FIELD, "payload": {"deployParams": parameters}});
        self.call::<Value>("tasks.data.set", &json!({"taskId": task_id, "fields": [field]})).await.map(drop)
    }

    /// Whether whoever started the task wants the model loaded at once; `None` where nothing is said.
    ///
    /// # Errors
    /// The platform's.
    pub async fn wants_autostart(&self, task_id: i64) -> Result<Option<bool>, PlatformError> {
        let task: Value = self.call("tasks.info", &json!({"id": task_id})).await?;
        let said = ["/meta/params/state/autostart", "/meta/params/autostart"].map(|place| task.pointer(place));
        Ok(said.into_iter().flatten().find_map(as_flag))
    }
}

/// A flag as JSON or as text.
fn as_flag(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(flag) => Some(*flag),
        Value::Number(number) => Some(number.as_f64() != Some(0.0)),
        Value::String(text) => Some(is_truthy(text)),
        _ => None,
    }
}

/// Whether a text means yes, in the words of the platform's SDK.
pub fn is_truthy(text: &str) -> bool {
    matches!(text.trim().to_ascii_lowercase().as_str(), "1" | "true" | "yes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_come_in_several_types() {
        for yes in [json!(true), json!("True"), json!("1"), json!(1), json!("yes")] {
            assert_eq!(as_flag(&yes), Some(true), "{yes}");
        }
        for no in [json!(false), json!("false"), json!("0"), json!(0), json!("")] {
            assert_eq!(as_flag(&no), Some(false), "{no}");
        }
        assert_eq!(as_flag(&json!(null)), None);
    }
}
