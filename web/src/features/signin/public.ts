export { ByePage } from './ByePage';
export { LaunchPage } from './LaunchPage';
export { LinkPage } from './LinkPage';
export { LoginPage } from './LoginPage';
export { SignInForm } from './SignInForm';
export { route } from './model';
