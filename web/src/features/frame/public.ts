export { Frame } from './Frame';
export { Refused, Unreachable } from './Refused';
export { RenewDialog } from './RenewDialog';
export { SignOutFailed } from './SignOutFailed';
