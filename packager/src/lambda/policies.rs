//! IAM policies as JSON documents, each with no more than its holder needs.
//!
//! Actions and resource types are those of the Service Authorization Reference for Lambda,
//! S3, CloudWatch Logs, Step Functions, ECR and IAM.

use super::name::function_name;
use serde_json::{Value, json};
use tranche_schema::ObjectStore;

/// Version of the policy language.
const VERSION: &str = "2012-10-17";

/// For [`PolicyScope::deployment`]: deployments of every name.
pub const ANY: &str = "*";

/// What policies are about. Names that are not known yet may be parts of a template
/// (`${AWS::AccountId}`).
#[derive(Clone, Debug)]
pub struct PolicyScope {
    /// `aws`, `aws-cn` or `aws-us-gov`.
    pub partition: String,
    /// The region.
    pub region: String,
    /// The account's id.
    pub account: String,
    /// Name of the deployment: functions are named `{deployment}-…`. [`ANY`] stands for all.
    pub deployment: String,
    /// Where tensors go that no payload takes.
    pub store: Option<ObjectStore>,
    /// Bucket and prefix of zip files that no call takes.
    pub code: Option<ObjectStore>,
    /// Whether the bucket of either is made, and removed, by a deployment itself.
    pub own_bucket: bool,
    /// Whether slices, or the entry, call other functions of the deployment.
    pub invokes: bool,
    /// Whether a Step Functions state machine is deployed.
    pub state_machine: bool,
}

impl PolicyScope {
    /// With nothing but functions.
    #[must_use]
    pub fn new(region: &str, account: &str, deployment: &str) -> Self {
        Self {
            partition: "aws".to_owned(),
            region: region.to_owned(),
            account: account.to_owned(),
            deployment: deployment.to_owned(),
            store: None,
            code: None,
            own_bucket: false,
            invokes: false,
            state_machine: false,
        }
    }

    /// Name of the functions' role.
    #[must_use]
    pub fn role_name(&self) -> String {
        self.named("tranche", &self.deployment)
    }

    /// Name of the state machine's role.
    #[must_use]
    pub fn state_machine_role_name(&self) -> String {
        self.named("tranche", &format!("{}-walk", self.deployment))
    }

    /// Name of the state machine.
    #[must_use]
    pub fn state_machine_name(&self) -> String {
        self.named(&self.deployment, "walk")
    }

    fn named(&self, first: &str, second: &str) -> String {
        // A pattern is no name that has to be made one.
        if self.deployment == ANY { format!("{first}-{second}") } else { function_name(first, second) }
    }

    fn arn(&self, service: &str, resource: &str) -> String {
        format!("arn:{}:{service}:{}:{}:{resource}", self.partition, self.region, self.account)
    }

    /// Of the functions, and of the state machine where there is one.
    fn roles(&self) -> Vec<String> {
        let machine = self.state_machine.then(|| self.state_machine_role_name());
        let names = std::iter::once(self.role_name()).chain(machine);
        names.map(|name| format!("arn:{}:iam::{}:role/{name}", self.partition, self.account)).collect()
    }

    /// The deployment's functions, without and with a qualifier.
    fn functions(&self) -> Vec<String> {
        vec![self.arn("lambda", &format!("function:{}-*", self.deployment))]
    }

    fn objects(&self, store: &ObjectStore) -> String {
        format!("arn:{}:s3:::{}/{}/*", self.partition, store.bucket, store.prefix)
    }

    fn bucket(&self, store: &ObjectStore) -> String {
        format!("arn:{}:s3:::{}", self.partition, store.bucket)
    }
}

fn document(statements: Vec<Value>) -> Value {
    json!({ "Version": VERSION, "Statement": statements })
}

fn allow(id: &str, actions: &[&str], resources: &[String]) -> Value {
    json!({ "Sid": id, "Effect": "Allow", "Action": actions, "Resource": resources })
}

fn assumed_by(service: &str) -> Value {
    document(vec![json!({
        "Effect": "Allow",
        "Principal": { "Service": service },
        "Action": "sts:AssumeRole",
    })])
}

/// Lambda may take on the functions' role.
#[must_use]
pub fn execution_trust() -> Value {
    assumed_by("lambda.amazonaws.com")
}

/// Step Functions may take on the state machine's role.
#[must_use]
pub fn state_machine_trust() -> Value {
    assumed_by("states.amazonaws.com")
}

/// What functions may: make and write to their own log groups; read, write and delete tensors; call
/// functions of their own deployment, where requests go on by themselves or an entry walks.
#[must_use]
pub fn execution(scope: &PolicyScope) -> Value {
    let group = scope.arn("logs", &format!("log-group:/aws/lambda/{}-*", scope.deployment));
    let actions = ["logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents"];
    let mut statements = vec![allow("Logs", &actions, &[group.clone(), format!("{group}:*")])];
    if let Some(store) = &scope.store {
        statements.push(allow(
            "Tensors",
            &["s3:GetObject", "s3:PutObject", "s3:DeleteObject"],
            &[scope.objects(store)],
        ));
        statements.push(list("FindTensors", &scope.bucket(store)));
    }
    if scope.invokes {
        statements.push(allow("GoOn", &["lambda:InvokeFunction"], &scope.functions()));
    }
    document(statements)
}

/// What the state machine may: call the deployment's functions.
#[must_use]
pub fn state_machine(scope: &PolicyScope) -> Value {
    document(vec![allow("Walk", &["lambda:InvokeFunction"], &scope.functions())])
}

/// What who deploys may, and no more: everything of this deployment's functions, their role
/// and log groups; upload of zip files; and what is asked for beside.
#[must_use]
pub fn deployer(scope: &PolicyScope, repositories: &[String]) -> Value {
    let logs = scope.arn("logs", &format!("log-group:/aws/lambda/{}-*", scope.deployment));
    let layers = scope.arn("lambda", "layer:tranche-*");
    let mut statements = vec![
        allow("Functions", &FUNCTION_ACTIONS, &scope.functions()),
        allow(
            "Layers",
            &["lambda:PublishLayerVersion", "lambda:GetLayerVersion", "lambda:DeleteLayerVersion"],
            &[layers.clone(), format!("{layers}:*")],
        ),
        // These know no resource.
        allow(
            "Account",
            &[
                "lambda:GetAccountSettings",
                "lambda:ListFunctions",
                "lambda:ListLayerVersions",
                "sts:GetCallerIdentity",
            ],
            &["*".to_owned()],
        ),
        allow("Role", &ROLE_ACTIONS, &scope.roles()),
        json!({
            "Sid": "PassRole",
            "Effect": "Allow",
            "Action": ["iam:PassRole"],
            "Resource": scope.roles(),
            "Condition": { "StringEquals": { "iam:PassedToService": passed_to(scope) } },
        }),
        allow("Logs", &LOG_ACTIONS, &[logs.clone(), format!("{logs}:*")]),
    ];
    for (id, store) in [("Code", &scope.code), ("Tensors", &scope.store)] {
        if let Some(store) = store {
            let actions = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"];
            statements.push(allow(id, &actions, &[scope.objects(store)]));
            statements.push(list(&format!("Find{id}"), &scope.bucket(store)));
        }
    }
    if let Some(store) = scope.store.as_ref().or(scope.code.as_ref()).filter(|_| scope.own_bucket) {
        let actions = ["s3:CreateBucket", "s3:DeleteBucket", "s3:PutBucketPublicAccessBlock"];
        statements.push(allow("OwnBucket", &actions, &[scope.bucket(store)]));
    }
    if let Some(store) = &scope.store {
        statements.push(allow(
            "Lifecycle",
            &["s3:GetLifecycleConfiguration", "s3:PutLifecycleConfiguration"],
            &[scope.bucket(store)],
        ));
    }
    if !repositories.is_empty() {
        statements.push(allow("Login", &["ecr:GetAuthorizationToken"], &["*".to_owned()]));
        let arn = |name: &String| scope.arn("ecr", &format!("repository/{name}"));
        let arns: Vec<String> = repositories.iter().map(arn).collect();
        statements.push(allow("Images", &IMAGE_ACTIONS, &arns));
    }
    if scope.state_machine {
        let machine = scope.arn("states", &format!("stateMachine:{}", scope.state_machine_name()));
        statements.push(allow("StateMachine", &STATE_MACHINE_ACTIONS, &[machine]));
    }
    document(statements)
}

/// What who sends requests may: call this deployment's functions, by URL too (which takes
/// both actions), and put tensors where functions find them.
#[must_use]
pub fn caller(scope: &PolicyScope) -> Value {
    let mut statements = vec![
        allow("Call", &["lambda:InvokeFunction"], &scope.functions()),
        json!({
            "Sid": "CallByUrl",
            "Effect": "Allow",
            "Action": ["lambda:InvokeFunctionUrl"],
            "Resource": scope.functions(),
            "Condition": { "StringEquals": { "lambda:FunctionUrlAuthType": "AWS_IAM" } },
        }),
    ];
    if let Some(store) = &scope.store {
        statements.push(allow(
            "Tensors",
            &["s3:GetObject", "s3:PutObject", "s3:DeleteObject"],
            &[scope.objects(store)],
        ));
        statements.push(list("FindTensors", &scope.bucket(store)));
    }
    if scope.state_machine {
        let machine = scope.arn("states", &format!("stateMachine:{}", scope.state_machine_name()));
        let actions = ["states:StartExecution", "states:StartSyncExecution"];
        statements.push(allow("Walk", &actions, &[machine]));
    }
    document(statements)
}

/// Without it, S3 answers that a key which is not there is forbidden instead of missing. A
/// condition on the prefix would not hold then, because reading names none.
fn list(id: &str, bucket: &str) -> Value {
    allow(id, &["s3:ListBucket"], &[bucket.to_owned()])
}

fn passed_to(scope: &PolicyScope) -> Vec<&'static str> {
    let states = scope.state_machine.then_some("states.amazonaws.com");
    ["lambda.amazonaws.com"].into_iter().chain(states).collect()
}

const FUNCTION_ACTIONS: [&str; 33] = [
    "lambda:AddPermission",
    "lambda:CreateAlias",
    "lambda:CreateFunction",
    "lambda:CreateFunctionUrlConfig",
    "lambda:DeleteAlias",
    "lambda:DeleteFunction",
    "lambda:DeleteFunctionConcurrency",
    "lambda:DeleteFunctionUrlConfig",
    "lambda:DeleteProvisionedConcurrencyConfig",
    "lambda:GetAlias",
    "lambda:GetFunction",
    "lambda:GetFunctionConcurrency",
    "lambda:GetFunctionConfiguration",
    "lambda:GetFunctionUrlConfig",
    "lambda:GetPolicy",
    "lambda:GetProvisionedConcurrencyConfig",
    "lambda:InvokeFunction",
    "lambda:ListAliases",
    "lambda:ListFunctionUrlConfigs",
    "lambda:ListProvisionedConcurrencyConfigs",
    "lambda:ListTags",
    "lambda:ListVersionsByFunction",
    "lambda:PublishVersion",
    "lambda:PutFunctionConcurrency",
    "lambda:PutFunctionEventInvokeConfig",
    "lambda:PutProvisionedConcurrencyConfig",
    "lambda:RemovePermission",
    "lambda:TagResource",
    "lambda:UntagResource",
    "lambda:UpdateAlias",
    "lambda:UpdateFunctionCode",
    "lambda:UpdateFunctionConfiguration",
    "lambda:UpdateFunctionUrlConfig",
];

const ROLE_ACTIONS: [&str; 7] = [
    "iam:CreateRole",
    "iam:DeleteRole",
    "iam:DeleteRolePolicy",
    "iam:GetRole",
    "iam:GetRolePolicy",
    "iam:PutRolePolicy",
    "iam:TagRole",
];

const LOG_ACTIONS: [&str; 6] = [
    "logs:CreateLogGroup",
    "logs:DeleteLogGroup",
    "logs:DescribeLogStreams",
    "logs:FilterLogEvents",
    "logs:GetLogEvents",
    "logs:PutRetentionPolicy",
];

/// Pushing, and letting Lambda pull.
const IMAGE_ACTIONS: [&str; 13] = [
    "ecr:BatchCheckLayerAvailability",
    "ecr:BatchGetImage",
    "ecr:CompleteLayerUpload",
    "ecr:CreateRepository",
    "ecr:DescribeImages",
    "ecr:DescribeRepositories",
    "ecr:GetDownloadUrlForLayer",
    "ecr:GetRepositoryPolicy",
    "ecr:InitiateLayerUpload",
    "ecr:PutImage",
    "ecr:SetRepositoryPolicy",
    "ecr:TagResource",
    "ecr:UploadLayerPart",
];

const STATE_MACHINE_ACTIONS: [&str; 8] = [
    "states:CreateStateMachine",
    "states:DeleteStateMachine",
    "states:DescribeStateMachine",
    "states:ListTagsForResource",
    "states:StartExecution",
    "states:StartSyncExecution",
    "states:TagResource",
    "states:UpdateStateMachine",
];
